"""A payment provider inside Farthing, to develop and test against: no money, no network, no secrets to enter.

Owns its simulated charges, hosted pages, saved methods and the events it signs. It serves every connection whose
metadata says `mode: test`, and is a stranger to the books: it changes a payment only through signed webhooks and the
results of calls, as any provider does. Refused in production environments.
"""
