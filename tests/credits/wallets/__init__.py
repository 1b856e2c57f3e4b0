"""Wallets themselves: what is put in and taken out, what they are worth, and when lots expire."""
