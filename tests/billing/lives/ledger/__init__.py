"""The model of a customer's money: wallets, grants, top-ups and credit notes."""
