"""The marketplaces themselves: how each is signed in to, asked, and told of an hour's usage.

Owns the interface that each one fills, its requests and what its answers mean, and which one a connection opens. Does
not own what is told, nor when (`planning`, `sending`).

Invariant: an answer that does not say that a report was taken or refused leaves it in doubt.
"""
