"""What Farthing says to others about what happened.

Owns how recorded events (`storage.record.outbox`) reach other systems (webhooks), customers (e-mail) and those who ask
what happened (activity), and which values have come to a threshold (alerts). Does not own what else is recorded or
when: the package whose entity changed writes the event, with its body, in the transaction of the change.

Invariants:

- nothing is said before its commit, and nothing of a change that was undone;
- what systems are told is the recorded body, which is never built again; a mail is written when it is sent.
"""
