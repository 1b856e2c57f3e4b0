"""The life of an invoice: begun as a draft, edited, finalized, voided, marked; money that arrives meanwhile.

Owns the transitions, among them finalizing and voiding (`transitions`), numbers (`numbering`), drafts (`drafts`),
one-off invoices as callers ask for them (`one_off`), edits (`edits`), payment marks by hand (`marking`), debts that are
given up (`write_off`), due dates and the notice that an invoice is overdue (`due_dates`).

Invariant: lines, subtotal, discounts, tax and total of a finalized invoice never change again.
"""
