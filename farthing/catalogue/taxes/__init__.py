"""Taxes: rates, and to whom each applies.

Owns tax rates and their associations with the tenant, a customer, a subscription or an invoice. Does not own the
arithmetic (`rating.totals.taxes`) nor the record of what was charged (`invoices`). Invariants:

- figure and type of a rate never change, and nothing of a rate that is associated or was charged;
- a code is unique among published rates; archiving a rate frees it and waits for its associations to go;
- associations are copied when a customer or a subscription is made (tenant to customer, customer to subscription);
  an invoice looks only at its own subscription, so that a later change never reaches an old contract by surprise.
"""
