"""Discounts on offer: coupons, and what each is attached to.

Owns coupons, their redemption limits, and the associations of a coupon with a subscription or one of its lines. Does
not own the arithmetic (`rating.totals.discounts`) nor the record of what was taken off an invoice (`invoices`).
Invariants:

- what a coupon is worth never changes; a code is unique among published coupons, whatever its case;
- window and limit are checked when a coupon is attached, or put on a one-off invoice, and never again: an attached
  coupon runs on for its whole association, even if it is archived;
- a redemption is counted under the coupon's row lock in the transaction that uses it, and is never given back.
"""
