"""Late usage: what changed in periods whose invoice is final, and what of it the next invoice charges.

Owns which lines are looked at again, and why some never are (`detection`), what they charge more (`charges`, pure), and
lines that share a commitment (`pools`), also over several periods (`windows`). Does not own measuring (`events`), nor
whether late usage is charged at all: that is `late_usage_policy` of the environment, asked in `billing.periods.inputs`.
Rules: docs/rules/late-usage.md.
"""
