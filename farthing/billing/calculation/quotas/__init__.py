"""Quotas that grants of entitlements give in windows: where windows lie, what is used in them, what is above. Pure.

Does not own what usage costs (`usage_charges`) nor which grants there are: they come in as values.
"""
