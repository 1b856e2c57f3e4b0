"""How a checkout ends: what was paid for is done, or what waited is undone.

Owns every move of a session out of an open state, the expiry duty among them. Does not own what is done: it calls the
packages that do. Invariant: who moves a session does so under its lock, with what follows in the same transaction.
"""
