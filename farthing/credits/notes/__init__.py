"""Credit notes: documents that take back a part of a finalized invoice, with its tax.

Owns notes and their lines, what may be credited, their numbers, and what becomes of the credit: less to pay, or money
that goes back to its source, into a wallet or to the next invoice. Does not own refunds, wallets or unapplied money,
which it calls, or the invoice's figures, which are derived from its notes.

Invariants: docs/rules/credit-notes.md#what-always-holds. The invoice is locked first, then the note, then payments,
then wallets; the sequence of numbers comes last.
"""
