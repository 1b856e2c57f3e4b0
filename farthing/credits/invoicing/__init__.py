"""Where credits meet invoices: what prepaid wallets take off them, what wallets pay of them, what they sell, and what
comes back from them into wallets.

Owns what an invoice takes as it becomes final (`adjustments`), what that consumes (`consumption`), what wallets pay
when it is collected (`payments`), what is sold (`purchases`), and what comes back (`returns`). Which lots, in which
order, is `credits.rules.lots`.

An invoice's row is locked before any wallet, and wallets in ascending order of id.
"""
