"""Line items: which prices a subscription is charged, and what happens to each while it lives.

Owns the row that a price becomes (`rows`), adding items (`add`), giving them other terms or an end (`revise`), which
rows are versions of one another (`lineage`), and following the prices of the plan (`price_sync`).
Does not own the plan itself (`plan_change`) or what addons bring (`addons`).

Invariant: a change of quantity or price ends a row and makes its successor at the same instant.
"""
