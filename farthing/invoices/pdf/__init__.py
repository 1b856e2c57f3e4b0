"""An invoice as a PDF: a pure function from a document's values to bytes.

Owns how an invoice looks on paper: layout, fonts, how figures and days are written. Owns no amount: every figure is
given, none is computed or rounded here, and nothing is read from a database or a clock.

Invariants: the same document gives the same bytes; no text, logo or metadata a tenant or customer can write makes
rendering fail, runs as template code, or reaches a file; a draft shows no number.
"""
