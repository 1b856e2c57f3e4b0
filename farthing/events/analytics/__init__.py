"""Questions about usage with its cost, single events, and why an event counts or does not (`debugger`).

Does not own prices or subscriptions: who charges for usage it asks through a port.
"""
