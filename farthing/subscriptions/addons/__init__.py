"""Addons on a subscription: attached, activated, detached (`lifecycle`), and kept in line with their prices
(`addon_sync`).

Does not own addons as they are sold (`catalogue.plans`).

Invariant: the line items that an addon brought end when its association ends.
"""
