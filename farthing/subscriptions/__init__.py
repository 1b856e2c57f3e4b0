"""Subscriptions: who bought which plan from when, what they are charged for, and what is to change.

Owns subscriptions and their line items (`tables`), what may follow what (`states`), the addons, phases, pauses and
schedules of a subscription, which entitlements hold for it (`entitled`), and which subscriptions are due (`rolling`).

Does not own what any of it costs (`rating`), what was used (`events`), or any invoice, payment or credit: those are
floors above, and nothing here knows them.

Where things are: `creation`, `activation`, `cancellation`, `pausing` are the life of a subscription and
`undoing` what never came to be; `charging` and
`items` give it line items, `revising` and `addons` change them; `changing` (in place) and `replacing` change the plan,
`carrying` says what goes along;
`hierarchy` is parents and children; `schedules` is what waits; `price_sync` and `addon_sync` follow the prices of the
plan and of addons; `live` and `uses` answer the floors that ask who still subscribes; `charged` tells events
what is charged for usage; `feature_usage` and `costing` sum up usage against limits and against costs.
`snapshot` and `billable` are the
values the billing floor works with.

The contract with the floor that bills:

- A function that changes a subscription locks it (customer before subscription), checks the transition in `states`,
  changes it, tells the outbox, and returns an `Outcome` (`billable`): which invoices are now to be made
  (`Billable`: occasion, period, whether at once, whether payment activates) and which line items changed at which
  instant (`ItemChange`, with both sides as values), to be settled if the outcome's `proration` asks for it. The
  caller makes them in the same transaction; `activation.paid_for` takes the result of an activating invoice.
- What is charged is computed from a `SubscriptionSnapshot` (`snapshot`), a frozen value that `loading.load` reads for
  any number of subscriptions in a fixed number of statements. It carries each line item version with its price as a
  `rating.RatedPrice`, its window, cadence, own rhythm and commitment; the subscription's rhythm, open period, trial,
  commitment, threshold and pauses; what it is entitled to; whose usage counts; and its grouped children.
- Previews compute the same `ItemChange`s from a snapshot and write nothing: functions named `planned_...` are pure.
- `rolling.due` takes due subscriptions with their locks (skipping held ones), by (`due_at`, id). `rolling.advance`
  moves one to now and returns its billables in order; running it again changes nothing.
- Progressive billing: `rolling.with_threshold` lists, `rolling.cut` closes the open period at a moment; the billables
  that follow carry `full_start`, from which allowances, tiers and commitments run.
- A scheduled plan change in place happens inside `advance`; one that replaces comes back as `Advance.replacement`.
- The number of the next draft (`billing_sequence`) is `Subscription.invoices_begun` + 1, counted under the row's lock.
- What was credited for which item before (settlement entries) belongs to the floor that settles.

Invariants:

- `[current_period_start, current_period_end)` is the open period; everything before it has been handed to invoicing.
  Periods tile without gap or overlap. `full_period_start` is where it began before threshold invoices cut it.
- A line item is never edited in a way that changes a past charge: a change ends it and makes a successor at the same
  instant. Metadata may change in place.
- Commitment lives on the subscription or on its line items, never on both.
- Inherited subscriptions have no line items and no invoices; grouped ones have line items that are invoiced through
  their parent.
"""
