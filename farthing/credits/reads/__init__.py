"""Reads of wallets and their ledger, and the proof that the stored figures follow from its rows."""
