"""Credits and invoices: what they take off, pay and sell."""
