"""Refunds: records of money that goes back to who paid, by a provider, into a wallet or outside of the system.

Owns the records, how an amount is spread over the payments it came from, what a provider is asked and what it answers,
and the retry of what failed. Does not own why money goes back: credit notes, voids and late money decide that.

Invariants: what is on its way back from a payment, or came back, never exceeds it; a record moves along
docs/rules/credit-notes.md#states-of-a-refund; no provider is called while a row is locked.
"""
