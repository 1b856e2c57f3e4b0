"""What customers owe: the summary per currency (`summary`) and how old it is (`aging`).

Rules: docs/rules/customer-summary.md. Does not own what unpaid and overdue mean (`invoices.receivable`).

Invariant: constant cost; the summary never reads paid invoices.
"""
