"""Pages of who buys what: customers, subscriptions, wallets and their grants, the catalogue and what it includes."""
