"""Charges that failed, tried again on a schedule until they succeed or the schedule ends.

Owns the case of an invoice whose automatic charge failed: when it is tried again, what ends it, and what is done to
the subscription or the debt when nothing helped. Does not own how an invoice is collected (`payments.processing`), when
a subscription is cancelled for being overdue (`billing.collection`), or what customers are written (`notifications`).

Rules: docs/rules/dunning.md.

Invariants: an invoice has one case; a failed charge moves it on in the transaction that stores the failure, so that
each step is made once, whoever else is working and wherever a process dies; what is due is read from rows.
"""
