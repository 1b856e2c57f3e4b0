"""Pages on which invoices are made and changed: one-off invoices, drafts, and voiding."""
