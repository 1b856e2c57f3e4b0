"""What a period of a subscription costs: functions from values to values.

No session, no clock, no rows: a subscription's snapshot and what is known beside it go in, lines come out. `bill` is
read top to bottom; the ideas it is made of stand beside it:

- `charges`: which item is charged for which service period, on an invoice of which occasion;
- `usage_charges`: what must be measured for that, and what a measured quantity costs after allowances;
- `quotas`: which part of usage is above what grants give in their windows;
- `commitments`: what a commitment makes of the usage lines;
- `progressive`: what threshold invoices of the same period have charged already;
- `draft`: the lines that come out, with everything that explains them;
- `proration`: what a change in mid-period credits and charges.
"""
