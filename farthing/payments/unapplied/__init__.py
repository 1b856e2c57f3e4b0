"""Unapplied money: what was received from a customer and stands on no invoice yet.

Owns where such money came from, how much of it is left, and its allocation to invoices. Does not own payments, whose
success puts it here, or settlements, which say what counts on an invoice.

Invariants: of each amount, what was allocated and what was sent back never exceed it; what is allocated is the sum of
the settlements that name it; the invoice is locked first, the money second.
"""
