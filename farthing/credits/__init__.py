"""Credits: wallets and the ledger of what was put into them and what consumed it.

Owns wallets, their transactions, the lots that credits are and which debit consumed how much of which lot. Does not own
invoices, payments, plan changes or what makes any of them give or take credits; it looks at subscriptions and invoices
only to see whether billing has caught up before a lot expires.

Words. A *lot* is a completed credit with what is left of it; a *movement* is a row of the ledger; the *chain* is the
completed movements of one wallet in order, each of which begins with the balance that the one before it left.

Read `rules` first (pure), then `ledger` (tables and posting), `reads`, `invoicing`, `wallets` (what callers do).

Invariants: docs/rules/credits.md#invariants. A wallet's row is locked before anything that decides money is read;
several wallets are locked in ascending order of id, after every lock of other packages.
"""
