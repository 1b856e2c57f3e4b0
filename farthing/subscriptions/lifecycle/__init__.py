"""The life of one subscription: created, activated, updated, paused, cancelled; its family and its schedules.

Owns every transition that a caller asks for, and discarding what never came to be (`discard`). Does not own the passing
of time (`subscriptions.roll_forward`), a change of plan (`plan_change`), or the money of any of it (`billing.changes`).

Invariant: a function here locks the subscription (customer first), checks the transition in `states`, changes it,
records its event, and returns what billing has to do.
"""
