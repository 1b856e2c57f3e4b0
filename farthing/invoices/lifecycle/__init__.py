"""The life of an invoice: begun as a draft, edited, finalized, voided, marked; money that arrives meanwhile.

Owns the transitions (`transitions`), drafts (`drafts`), one-off invoices as callers ask for them (`one_off`), edits
(`edits`), payment marks by hand (`marking`) and the notice that an invoice is overdue (`overdue`).

Invariant: lines, subtotal, discounts, tax and total of a finalized invoice never change again.
"""
