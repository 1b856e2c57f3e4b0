"""What billing shows without keeping it: the usage of a subscription so far, late usage of an invoice, and answers of
the wire.
"""
