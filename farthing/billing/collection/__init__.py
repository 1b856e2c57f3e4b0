"""Collecting what subscriptions owe: attempts once an invoice is payable (`collect`).

Does not own how a payment is carried out (`payments`), nor what follows when it stays unpaid (`billing.dunning`).

Invariant: an invoice that is due for collection is attempted after the transaction that made it payable, and once.
"""
