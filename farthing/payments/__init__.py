"""Payments: attempts to collect what an invoice asks for, and the connections to the systems that do the collecting.

Owns payments and their attempts, connections to providers with their sealed credentials, mappings of our entities to a
provider's, what providers report by webhook, saved payment methods, and a built-in provider to test with. Does not own
what a payment does to an invoice (`invoices.lifecycle.transitions.receive` does), wallets, refunds by credit note, nor
when a renewal is collected.

Words. A *payment* is one intent to move one amount; an *attempt* is one try at it. A *gateway* is the provider a
payment goes through; a *connection* is an environment's account there. A *link* is a hosted page that takes a payment.
A *report* is what a provider says happened, by webhook or when asked.

Invariants:

- locks are taken invoice first, payment second; no provider is called while one is held;
- a payment is PROCESSING on disk before its provider hears of it, and the provider's idempotency key is its id;
- an outcome, its attempt, the settlement of the invoice and the events about it are one transaction;
- methods that charge (all but offline money) never reserve more than an invoice still asks for;
- a gateway's payment id belongs to one payment, and a provider's event takes effect once;
- money that a provider took is recorded whatever state the payment or the invoice is in; what nobody owed goes back.
"""
