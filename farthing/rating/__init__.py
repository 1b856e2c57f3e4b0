"""What a quantity costs, and what an invoice adds up to. Pure: values in, values out.

Owns: the price of a quantity and its explanation, tiers, custom price units and the default quantity (`pricing`);
allowances, and commitments of a line item and of a subscription (`commitments`); and the money of an invoice: coupons,
prepaid credits, taxes, totals, the balance, and how much of what is left stands for usage (`totals`).

Does not own: stored prices, meters, subscriptions or invoices; which price, period, coupon or tax rate applies;
proration fractions (`calendar`); when a figure is computed. It reads no clock, no database and no setting.

Invariants:
- Costs are exact and unrounded. `digits`, where a function takes it, is the currency's precision, and that function
  rounds, half away from zero.
- A quantity that is not positive costs nothing. Tier upper bounds are inclusive; the last tier is open.
- Parts sum to their whole, exactly: the parts of a breakdown, the shares of a discount, commitment lines.
- No amount is negative; on every invoice line discounts plus credits are at most the amount.
"""
