"""Pages of payments: the list, one payment, recording money over several invoices, and money that is on none."""
