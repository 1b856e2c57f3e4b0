"""One payment from its creation to its outcome, and what follows when nobody told us the outcome.

Owns creation, carrying out (`execution`), outcomes, what providers report (`inbound`), `reconciliation`, attempts at an
invoice (`collection`), changes by callers and the end of payments of a voided invoice (`voiding`).

Invariants: locks are taken invoice first, payment second; no provider is called while one is held.
"""
