"""Credentials: API keys, who a request is from, and the master key."""
