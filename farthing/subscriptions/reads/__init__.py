"""Subscriptions as they are read: found, shown with their parts, and asked about by the layers above.

Owns look-up (`lookup`), answers of the wire (`answers`, `entitlements`), who still subscribes (`live`), and what
charges for usage, as analytics ask (`usage_sources`). Nothing here writes.
"""
