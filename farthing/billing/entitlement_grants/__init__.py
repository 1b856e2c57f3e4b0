"""The usage windows of entitlements' grants: counted from stored events, opened, found exhausted, and shown.

Owns what stands in `entitlement_grants` beside the subscriptions that it belongs to, and the announcement that a quota
is used up. Does not own where windows lie nor what is over a quota (`billing.calculation.quotas`, pure), nor the
charge. Invariants:

- a window that was opened keeps its bounds and its quota;
- a window is found exhausted once, and announced in the same transaction;
- nothing that is charged waits for a window to be stored: whoever reads counts the events by the same rule.
"""
