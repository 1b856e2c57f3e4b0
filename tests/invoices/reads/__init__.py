"""How invoices are read: lists, summaries, and what documents say."""
