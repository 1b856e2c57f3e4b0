"""Collecting what subscriptions owe: attempts once an invoice is payable (`collect`), and what follows when it stays
unpaid (`dunning`).

Does not own how a payment is carried out (`payments`).

Invariant: an invoice that is due for collection is attempted after the transaction that made it payable, and once.
"""
