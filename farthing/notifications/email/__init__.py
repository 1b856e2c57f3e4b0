"""E-mail to customers: what happened to their invoices, payments, credits and subscriptions.

Owns which mails there are, their texts, and their way to the mail server. `queueing` makes rows, `content` writes the
letters, `delivery` hands them in.

How a mail comes to be: the outbox hands the events of a transaction to `queueing` as it writes them
(`storage.ports.OutboxPorts`), and their mails are rows of the same transaction. A reader of the outbox, such as
webhooks have, would need a mark on every event and could say only later what became of a mail. What no event tells (a
due date draws near) is found by a duty, which makes the same rows.

Invariants: a mail is a row of the transaction that it tells of, once for each kind, entity and occasion; whether it is
still true is asked again right before it is handed in; a mail has one Message-ID, however often it is handed in.
"""
