"""Proof that what was billed is right: read only, and worked out from records rather than by billing again.

- `reckoning` (pure): does each line come to what its own record says?
- `proving`: that, for pages of invoices, and what their lines say was used measured again;
- `completeness`: is any period missing, or billed twice?
"""
