"""Pages of plans and addons: what each costs, what it includes, and a calculator of its prices.

Does not own what prices come to: the function that rates invoices says it. Features stand in `features`.
"""
