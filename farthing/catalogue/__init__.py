"""The catalogue: what is sold, how it is measured, what it costs and what comes with it.

Owns features and the meters behind them (`products`), plans and addons (`plans`), prices and custom price units
(`prices`), what a plan includes (`entitlements`), coupons (`discounts`), tax rates and where they apply (`taxes`) and
cost sheets (`costs`); and groups, which only arrange them for reading. What carries one another on the wire is answered
by `answers` and `routes`, above them all.

Does not own what a quantity costs (`rating`: a price row becomes a `RatedPrice`, and nothing here multiplies), what
was used (`events`), who bought what (`subscriptions`), or any invoice.

Invariants:

- A price never changes money in place: a change ends it and creates its successor, so whatever was computed with a
  price id can be computed again. Label, group and end date are all that moves. Price life is `[start, end)`.
- A price has one owner for good; `parent_price_id` names the root of its lineage, never merely the one before.
- An amount is kept as it was sent, or refused: nothing is rounded on the way in. Quotes in a custom price unit are
  converted once, at a rate frozen on the price, unrounded.
- A meter's event, aggregation and reset never change, and its filters only gain values: past usage stays reproducible.
- Keys and codes are unique among published rows of an environment; the database refuses the second. Archiving frees
  them. Rows are archived, not removed.
- Whether something is in use above is asked through `ports`.
"""
