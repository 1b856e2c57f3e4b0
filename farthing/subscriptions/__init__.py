"""Subscriptions: who bought which plan from when, what they are charged for, and what is to change.

Owns subscriptions with their line items, addons, phases, pauses and schedules, and which entitlements hold for them.
Does not own what any of it costs (`rating`), what was used (`events`), or any invoice, payment or credit: those are
layers above, and nothing here knows them. Rules: docs/rules/subscriptions.md.

Read in this order: `tables`, `enums`, `changes`, `states`; `snapshot`, `line_items`, `addons`; `lifecycle`;
`plan_change`; `roll_forward`; `reads`. What a change leaves for billing to do is an `Outcome` (`outcome`).

Invariants: periods tile without gap or overlap, and everything before the open one has been handed to invoicing; a
line item is never edited in a way that changes a past charge; commitment lives on the subscription or on its line
items, never on both; inherited subscriptions have no line items and no invoices.
"""
