"""What Farthing says to others about what happened.

Owns how recorded events (`storage.outbox`) reach other systems (webhooks) and customers (e-mail). Does not own what is
recorded or when: the package whose entity changed writes the event, with its body, in the transaction of the change.

Invariants:

- nothing is said before its commit, and nothing of a change that was undone;
- what systems are told is the recorded body, which is never built again; a mail is written when it is sent.
"""
