"""Billing: a subscription's period becomes an invoice, exactly once.

Owns the calculation of what a period costs and on which invoice each charge belongs (`bill`, pure, and the ideas it is
made of: `charges`, `usage_charges`, `commitments`), what must be known for it (`gather`) and how it is written
(`persist`), the run that moves every due subscription on (`run`), settling of changes in mid-period (`settling`), the
flows that begin with a subscription and end with an invoice (`flows`), and the proof that what was billed is right
(`proof`, `reckoning`, `completeness`).

Does not own a subscription's states and dates (`subscriptions`), an invoice's states, figures and number (`invoices`),
what a quantity costs (`rating`), or what was used (`events`). It calls all of them; none of them knows it.

From a period to an invoice:

1. `charges.charges_of` says which items are charged, for which service period, on an invoice of this occasion.
2. `usage_charges.plan` says which usage must be measured for them; `gather` measures it, for hundreds at once.
3. `bill.bill` prices, prorates, commits and lists the lines; `persist` writes them, and the figures follow from
   `rating.invoice_totals` like those of every invoice.

Invariants:

- A period that has been handed over has its draft in the same transaction; `uq_invoices_period` allows one per
  subscription, period and reason. Whoever loses the race finds the winner's.
- Previews and executions share one calculation; nothing is billed that could not be previewed.
- A computation may be repeated as long as the invoice is a draft; it replaces what the one before said.
- What a charge was made of (price, quantity, raw usage, parts) stands on its line.
"""
