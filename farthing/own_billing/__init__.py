"""A host that bills its own tenants with Farthing: each tenant is a customer in an environment of the host.

Owns which tenant is which customer, what a tenant sees of its bill, and whether it is suspended. Does not own how a
customer is billed (`billing`), how it pays (`payments`), or what a suspended tenant may do (`identity`, `api`).

Rules: docs/rules/own-billing.md.

Invariants: off unless the deployment names an environment; the customer of a tenant is the one whose external id is the
tenant's; the host's own tenant is never suspended; a day's usage of a tenant is one event, however often it is sent.
"""
