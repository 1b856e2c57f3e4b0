"""Accounts at other systems: connections with sealed credentials, the providers behind them, mappings and copies of
our entities, payment methods that are saved there.

Invariant: a credential is never stored or logged in clear.
"""
