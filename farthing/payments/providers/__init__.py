"""What Farthing asks of a payment provider, and where providers are found by name.

Owns the interface, its values and typed results, and the registry. A provider's adapter is a package of its own that
registers itself; nothing here or in the payment rules names one.
"""
