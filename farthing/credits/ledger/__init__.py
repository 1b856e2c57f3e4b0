"""The ledger: its tables, the one function that appends a movement, and the duty that expires lots."""
