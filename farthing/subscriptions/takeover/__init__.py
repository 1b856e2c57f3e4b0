"""Subscriptions that another system has billed so far.

Owns how such a subscription is stored with its line items, phases, pauses and addons, as they stand. Does not own where
it comes from (`migration`).

Invariants: nothing before the open period is billed again (`billed_from`); the opening is not billed, because the other
system has invoiced it; nothing is granted.
"""
