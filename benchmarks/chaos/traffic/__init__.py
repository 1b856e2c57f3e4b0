"""The load from outside, and the ledger of what was acknowledged."""
