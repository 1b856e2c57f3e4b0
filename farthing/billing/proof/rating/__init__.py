"""Each line of an invoice rated again from its own record: price, quantity, share, quota, service time. Pure.

Reads nothing; who measures again is `proof.invoices`.
"""
