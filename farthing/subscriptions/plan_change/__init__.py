"""Changing the plan of a subscription: `in_place` (v2, the subscription stays) or `by_replacement` (v1, a new one
begins).

Owns which line items end, which begin, and what goes along (`carry_over`). Does not own the money of the change: that
is `billing.changes`.

Invariant: a preview plans the same changes as its execution.
"""
