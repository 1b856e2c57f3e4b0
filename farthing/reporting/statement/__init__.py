"""The statement of account: everything that moved what a customer owes in one currency, with its running balance.

Owns the entries of an account (`entries`), the statement of a period (`account`), and its forms as a table
(`tabulated`) and as a document (`document`). Does not own any amount: entries are read from invoices, notes, payments
and refunds.

Invariants: the balance is what unpaid invoices ask for, less what was paid too much and what stands on no invoice; a
statement ends where the next one begins; currencies are never added.
Rule: docs/rules/statement-of-account.md#what-the-balance-is
"""
