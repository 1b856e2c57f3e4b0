"""Annotations: notes that staff write about customers and invoices, and files that they put beside them.

Owns notes, attachments and what files may be. Does not own what they are about: an annotation changes no figure, and
customers never see one.

Invariants: a note and a file say who left them and when; what is sent twice is stored once; a file is of a kind that
its first bytes show, of a bounded size, and is stored in the transaction of its record.
Rule: docs/rules/annotations.md#notes-and-attachments
"""
