"""Reports: figures that are read from everything below and change nothing.

Owns what usage earned and cost (`costing`) and how much of what it may use a customer has used (`feature_usage`).
Does not own any figure of an invoice; it adds up what others own.

Invariants: one snapshot each; currencies are never added.
"""
