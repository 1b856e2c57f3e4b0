"""What callers do with wallets: create, fund, debit, freeze, close and convert them."""
