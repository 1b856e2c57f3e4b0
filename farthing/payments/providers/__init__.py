"""What Farthing asks of a payment provider, and where providers are found by name.

Owns the interface, its values and typed results, and how an adapter is chosen. A provider's adapter is a package of
its own, listed in `farthing.wiring`; nothing here or in the payment rules names one.
"""
