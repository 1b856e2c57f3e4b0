"""Lines day by day: on which days the usage of a line came, and what the line earns on each.

Owns the rules by which an amount lies on days (`allocation`, pure), which of them a line keeps (`spreading`), and when
its usage came (`usage`). Does not own what a line comes to (`figures`) nor which lines are read (`lines`).

Invariant: the days of a line add up to the line, exactly; the last takes the rounding.
"""
