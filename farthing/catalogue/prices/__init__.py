"""Prices and custom price units.

A price row is immutable money: `versions` ends one and begins its successor in the same instant, `rated` turns a row
into the value that `rating` calculates with. A custom price unit's rate is frozen on every price that uses it.
"""
