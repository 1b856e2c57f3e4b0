"""Usage that comes late, belongs to somebody else, or is needed by an invoice that is yet to come."""
