"""What billing shows without keeping it: previews of invoices, the usage of a subscription so far, and late usage of an
invoice.
"""
