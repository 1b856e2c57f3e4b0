"""Credit grants: credits that come with a plan, an addon or a subscription, once or again and again.

Owns grants, their applications and the duty that applies what is due. A grant of a plan or an addon is a template; a
subscription has copies of its own, which later changes of the template do not touch. Each application gives the credits
of one period as one lot, by way of the ledger's `post`.

Read `tables` first, then `applying` (every transition of an application), `subscribing` (what a subscription is given,
and what its changes do to that), `sweep` (the duty), `rollover`.

Invariants: docs/rules/credits.md#applications. A grant and its applications change only under the lock of their
subscription's row; wallets are locked after it.
"""
