"""Revenue: what invoice lines earn, day by day, and when it is recognized.

Owns how a line is explained (list price, tiers, allowance, discounts: `figures`), how it lies on days (`by_day`),
the lines that are read (`lines`, `open_periods`), the breakdown that answers `POST /analytics/revenue` (`breakdown`),
and what is recognized, deferred and unbilled (`recognition`). Does not own what a line comes to.

Invariants: the parts of a line add up to the line, exactly; two currencies never meet in a row; nothing is written.
"""
