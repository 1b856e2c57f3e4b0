"""Usage: events come in, each is measured once, and every question about usage is answered from those measurements.

Owns ingest (validation, identity, group commit), the event store (`events` and the measured rows beside them), the one
usage query builder, backfills, retention and analytics.

Does not own the quantity an event has for a meter (`metering`, pure), what a usage costs (`rating`), which part of the
time line is charged or what is included for free (`subscriptions`, `billing`), the life of a meter or a feature
(`catalogue`), or who a customer is (`customers`): an event names its customer by the caller's own key, and is accepted
before anybody knows that customer.

Invariants:

- Queries are plain aggregates over the numbers that `metering.quantity` made on the way in. `metering.model` says in
  Python what such a query must answer; every store is tested against it.
- An event is its id within an environment. Sent again with other content it replaces the earlier version, rows and
  all, in one transaction; it never counts twice. The same content changes nothing.
- An acknowledged event is durable. Time is event time, in whole milliseconds; every range is half-open `[start, end)`.
- One meter usage row per event and matching meter, whether or not anybody is charged for it.
- Usage is never rounded before it is priced, apart from the 15 digits of a stored quantity and of a mean.
"""
