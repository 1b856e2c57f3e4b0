"""A finance person's work: invoices, payments, credit notes, corrections, wallets, rates, e-invoices, reports."""
