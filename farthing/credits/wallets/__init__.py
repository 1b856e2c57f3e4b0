"""What callers do with wallets: create, fund, debit, freeze, close and convert them.

Owns each of these changes and automatic top-ups (`automation`). Does not own when an invoice takes from a wallet
(`credits.invoicing`), nor which lots a debit consumes (`credits.rules`).
"""
