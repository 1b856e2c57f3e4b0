"""Subscriptions as billing sees them: frozen values, read for hundreds at once in a fixed number of statements.

Owns the values (`values`), reading them (`loading`, `line_items`), and what a subscription includes (`entitlements`).
Does not own any calculation on them: that is `billing.calculation`.

Invariant: nothing here writes; a snapshot is what one transaction saw.
"""
