"""Erasing a person: what names a customer is written over everywhere, and the books stay whole.

Owns what of a customer is personal, in which tables it can stand, the flow that writes it over, and for how long the
documents that the law keeps stay as they were issued. Does not own the customer's row or its archiving (`customers`),
nor what is stored at payment providers and in backups.

Invariants: an amount, a date, an id or a state never changes; what named the person is replaced by words that tell
different texts apart; nothing that was erased can be read from the activity log or from an answer that is kept.
"""
