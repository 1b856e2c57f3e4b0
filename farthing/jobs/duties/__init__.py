"""Periodic duties: what each is called, when it is due, how it goes through all environments, and how it stands.

Owns the list of this release (`schedule`) and how a pass of billing is shared among workers (`shared_billing`). What a
duty does lives with its domain; who performs it is `jobs.workers`. Invariants: an environment that fails does not stop
the rest; a missed tick runs once, not once per tick missed.
"""
