"""Plans and addons: what a subscription is made of. Each owns prices, entitlements and credit grants made elsewhere.

A published plan or addon that somebody subscribes to cannot be archived; what was bought keeps its prices.
"""
