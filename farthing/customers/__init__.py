"""Who is billed: customers, what identifies them, where their mirror images live in other systems.

Owns the customer row, its mappings to providers' ids, and the sessions that let a customer into the portal. Does not
own what a customer has (subscriptions, wallets, invoices); what of it forbids a deletion is asked through `ports`.
Invariants:

- `external_id` is unique among the published customers of an environment; archiving a customer frees it;
- deletion is soft: an archived customer keeps its history and its debts, and can be read, never changed;
- a customer has no parent; hierarchy exists between subscriptions only;
- whoever gives a customer something that would forbid its deletion locks the customer row first.
"""
