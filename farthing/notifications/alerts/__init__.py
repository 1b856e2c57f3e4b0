"""Alerts: a value came to a threshold, or left it again, and others are told once.

Owns the settings for the spend of subscriptions, the log of every change of state, the events that announce changes,
and when a customer's new usage is looked at. Does not own what is compared: wallets know their balances and their own
thresholds (`credits`), and spend is what `billing` calculates.

Words. A *stream* is one value under one setting, such as the real-time balance of a wallet; spend has a stream for
each billing period. A *transition* is a change of a stream's state: a row of the log, and an event.

Invariants:

- the first row of a stream is not `ok`, and no two rows in a row have the same state;
- a row and its event are written in the transaction that found the change.
"""
