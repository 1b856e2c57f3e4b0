"""Checkouts: something is done once its payer has paid on a hosted page, and not at all if nobody does.

Owns checkout sessions: what each is for, its states, its page's key, and what is done when its payment succeeds, fails
or comes too late. Does not own the payment (`payments`), the invoice (`invoices`), nor how a subscription, an addon or
a purchase of credits is made; it calls the packages that do.

Words. A session is *open* while it is initiated or pending. The *held* invoice is the draft that an open session keeps:
nobody else changes, finalizes, pays or voids it. *Late money* is a payment that succeeds after its session has ended.

Invariants:

- who moves a session out of an open state does so under its lock, and does what follows in the same transaction;
- what is done at the end is worked out again then, as of when the session was opened; if it came to another amount than
  the payer was asked for, it is not done, and the money goes back;
- locks are taken in the order of the whole service: subscription, invoice, payment, session, wallets;
- money that a provider took is a payment in the books whatever state the session is in.
"""
