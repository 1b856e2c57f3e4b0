"""Cost sheets: what it costs the tenant to serve a unit of usage.

Owns the sheets; the costs themselves are prices (`prices`) whose owner is a sheet. Does not own what anything earned
or cost in a given time. Invariants:

- the active sheet is the newest published one, read from the database every time;
- a published name, and a published lookup key, is used once.
"""
