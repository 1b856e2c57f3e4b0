"""The money of an invoice on its rows: `computation` writes it, `settlement` says what is paid, `derivation` proves
both.

Owns how stored `terms` (coupons and taxes as they stood) become figures. Does not own the arithmetic (`rating.totals`).

Invariant: every money column is derived from its sources here, under the invoice's row lock.
"""
