"""Pages of what is owed and how it is settled: invoices, corrections, notes, dunning, checkouts, exchange rates."""
