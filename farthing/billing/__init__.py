"""Billing: a subscription's period becomes an invoice, exactly once.

Owns, from the inside out: what a period costs (`calculation`, pure); what must be known for it and how it is written
(`periods`); late usage (`late_usage`); what a change in mid-period settles (`changes`); the run over all due
subscriptions (`run`); collecting what became due (`collection`), and trying again what failed (`dunning`); invoices put
right after their usage was changed (`corrections`); usage windows of grants (`entitlement_grants`); test clocks
(`clock`); what is shown and not kept, such as previews (`reads`); the proof that what was billed is right (`proof`).
Does not own a subscription's dates (`subscriptions`), an invoice's states, figures and number (`invoices`), what a
quantity costs (`rating`), or what was used (`events`); none of them knows billing.

Invariants: a period that was handed over has its draft in the same transaction, and `uq_invoices_period` allows one per
subscription, period and reason; previews and executions share one calculation; what a charge was made of (price,
quantity, raw usage, parts) stands on its line.
"""
