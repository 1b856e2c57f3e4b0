"""Telling marketplaces what usage came to, hour by hour.

Owns which quantity is reported in which hour, the three marketplaces' ways to take it, and the receipts on usage
records. Does not own what usage came to (`marketplaces.records`).

Rule: docs/rules/marketplaces.md#reporting

Invariants: a report is stored before it is sent, and is sent exactly as it was stored until the marketplace has
answered for good; what a record has is in reports that were taken, wait or were refused, once each; a meter has one
report an hour.
"""
