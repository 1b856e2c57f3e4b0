"""What is written down of every change: the outbox, which is also the activity log.

Does not own who is told of it (`notifications`). Invariant: a change and its record are one transaction.
"""
