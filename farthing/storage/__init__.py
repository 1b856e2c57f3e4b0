"""PostgreSQL: the engine, sessions, the scope of tenant and environment, locks, migrations, and the outbox.

Owns how rows are reached, not what they mean. Invariants:

- every session has a `Scope`, set as transaction-local settings at the start of each transaction; row-level security,
  forced also for the tables' owner, shows and accepts only rows of that scope;
- the application's role can neither bypass that security nor is it a superuser; a URL whose role can is refused;
- what happened is recorded by a row in the outbox, in the transaction that made it happen.
"""
