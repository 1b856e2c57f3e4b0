"""Forms that people fill in: the fields there are, the request that they make, and what is shown of what was refused.

The name of a field is its path in the request of the API (`meter.aggregation.type`, `tiers[1].unit_amount`), so a form
becomes that request and goes the way of every request; what is refused of it is shown at the field of that path.
Nothing is validated here except that a number is written as one.
"""
