"""Whole lives through the engine: worked invoices, calendars, rhythms, allowances, commitments and thresholds."""
