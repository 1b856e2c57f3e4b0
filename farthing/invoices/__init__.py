"""Invoices: what a customer was billed, and how it is settled."""
