"""Questions about usage with its cost, single events, and why an event counts or does not (`debugger`).

Owns what it must know of who charges for usage (`unit_charges`, a port). Does not own prices or subscriptions.
"""
