"""Billing: a subscription's period becomes an invoice, exactly once.

Owns, from the inside out:

- what a period costs and on which invoice each charge belongs: `calculation`, pure;
- what must be known for it (`gather`, with `history` and `late_usage`) and how it is written (`persist`, `issuing`);
- the run that moves every due subscription on (`run`), its companions (`thresholds`, `recomputing`, `dunning`,
  `pauses`), the collecting of what became a claim (`collecting`), the command (`command`) and test clocks (`clock`);
- what a change in mid-period settles (`settling`, `served`), and the flows that begin with a subscription and end with
  an invoice (`flows`, `opening`, `modifying`, `changing_plans`, `replacement`, `previews`);
- the proof that what was billed is right (`proof`).

Does not own a subscription's states and dates (`subscriptions`), an invoice's states, figures and number (`invoices`),
what a quantity costs (`rating`), or what was used (`events`). It calls all of them; none of them knows it.

From a period to an invoice:

1. `calculation.charges` says which items are charged, for which service period, on an invoice of this occasion.
2. `calculation.usage_charges` says which usage must be measured; `gather` measures it, for hundreds at once.
3. `calculation.bill` prices, prorates, commits and lists the lines; `persist` writes them, and the figures follow from
   `rating.invoice_totals` like those of every invoice.

Invariants:

- A period that has been handed over has its draft in the same transaction; `uq_invoices_period` allows one per
  subscription, period and reason. Whoever loses the race finds the winner's.
- Previews and executions share one calculation; nothing is billed that could not be previewed.
- A computation may be repeated as long as the invoice is a draft; it replaces what the one before said.
- What a charge was made of (price, quantity, raw usage, parts) stands on its line.
"""
