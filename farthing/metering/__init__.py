"""What an event counts: meters, their filters and expressions, and how counted quantities fold into usage.

Pure: values in, values out; no session, no clock, no rows. The catalogue reads it to refuse a meter that could not
measure, the event store to measure what comes in.

Owns the event and the meter as values (`event`, `meter`), how a property is read (`canonical`), which events a meter
takes (`filters`), its expression language (`expression` reads, `formula` runs), the quantity of one event
(`quantity`), and in `model` the answers that every usage query must give.

Does not own how events are stored or asked for (`events`), how a meter is made and kept (`catalogue`), or what a
quantity costs (`rating`).

Invariants:

- The meter alone decides an event's quantity, and `quantity.quantity_of` is the only code that does: filters, canonical
  text, numbers, multipliers and expressions are read there, in decimals, once.
- Quantities are exact: at most 23 digits before the point and 15 after it, never a float.
"""
