"""Corrections of invoices: what usage that was changed since makes of an invoice that is final, and making it good.

Owns the corrections, what each took back of which line, and what it left to the next invoice to charge. Does not own
the account of a line item and period, which `late_usage` reads and both keep to, nor credit notes.

Invariants: what invoices charge for an item and period, with late lines, less what corrections took back of it, is
what both compare with the events; nothing is taken back or charged twice, whichever comes first.
"""
