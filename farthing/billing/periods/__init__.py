"""The invoice of one period, for hundreds of subscriptions at once.

Owns what must be known (`inputs`, with `history` of earlier invoices), drafts and their lines (`drafts`), and making
them payable (`finalize`). Does not own which subscriptions are due (`run`).

Invariants: a fixed number of statements however many subscriptions; a computation replaces the one before as long as
the invoice is a draft.
"""
