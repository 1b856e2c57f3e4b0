"""Stripe behind the provider interface, through Stripe's own library.

Owns the credentials a connection to Stripe needs, amounts in Stripe's units, requests to its API, what its answers and
webhooks mean in our words. Does not own what a payment, refund or dispute does to the books.

Invariants: every request that makes something carries an idempotency key that is derived from what is made, and the
same values with it; nothing of ours is held while Stripe is asked; no credential is in a message, log or answer.
"""
