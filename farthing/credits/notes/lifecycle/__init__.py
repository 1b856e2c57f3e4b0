"""A credit note from its making to its end: created within what may be credited, numbered, finalized or voided.

Owns what changes a note and what becomes of its credit. Does not own how notes are shown (`reads`, `document`), nor
refunds and wallets, which it calls. Invariant: nothing is credited twice; the invoice is locked before the note.
"""
