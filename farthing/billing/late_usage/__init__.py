"""Late usage: what changed in periods whose invoice is final, and what of it the next invoice charges (`detection`).

Rules: docs/rules/late-usage.md. Does not own measuring (`events`).
"""
