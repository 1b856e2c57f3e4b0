"""Webhooks on their way: signed, in order, again until they arrive."""
