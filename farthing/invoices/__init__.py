"""Invoices: what a customer was asked to pay, line by line, and how much of it is still owed.

Owns invoices, their lines, discounts, taxes and settlements (`figures`); numbering and the life cycle (`lifecycle`);
the customer summary (`receivables`); the PDF (`pdf`); e-invoices (`einvoice`); notes and files of staff
(`annotations`). Does not own payments (they settle an invoice and live one layer up), credit notes and wallets, nor
what a subscription's period costs (billing works that out and hands over lines).

Words. *Total* is what the charges come to after discounts, prepaid credits and tax; *due* is the total less
adjustment notes; *paid* is the sum of settlements and never shrinks by a refund; *remaining* is what is still owed.
*Service period* is what the charges are for; *issue date* is printed; *due date* is when it becomes overdue.

Invariants:

- every money column is derived from its sources by `figures`, under the invoice's row lock;
- a finalized invoice has a unique number, and its lines, subtotal, discounts, tax and total never change again;
- unpaid and overdue are defined once, in `receivable`;
- the per-customer totals the summary reads are kept by the database itself, in the transaction that changes an invoice.
"""
