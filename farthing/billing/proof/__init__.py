"""Proof that what was billed is right: read only, and worked out from records rather than by billing again.

`rating` rates each line again from its record (pure), `invoices` measures again, `completeness` looks for periods that
are missing or billed twice, `budgets` for fixed coupons that took too much of a period.
"""
