"""Where credits meet invoices: what prepaid wallets take off them, what wallets pay of them, what they sell, and what
comes back from them into wallets.

An invoice's row is locked before any wallet, and wallets in ascending order of id.
"""
