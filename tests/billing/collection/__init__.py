"""How invoices of subscriptions are collected: when they are due, who pays them, and what follows a failed charge."""
