"""API keys, and the master key.

Owns keys as they are drawn and hashed (`keys`), handled by owners (`api_keys`) and operators (`operator`), the master
key's fingerprint and rotation (`master_key`), and sealing (`sealing`). Invariant: only hashes and sealed secrets are
stored.
"""
