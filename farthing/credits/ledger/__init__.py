"""The ledger: its tables, what a new wallet is like, the one function that appends a movement, and the duty that
expires lots.
"""
