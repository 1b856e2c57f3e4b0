"""Electronic invoices of EN 16931: what a document says, which format demands what, and how each is written.

Owns the model of the standard's terms, the mapping of an invoice's figures to them, what is missing for a format, and
the writers of UBL, CII and Factur-X. Does not own a figure: every amount is the invoice's or the note's own, and is
only placed. Serves invoices here and credit notes above.

Invariants: the same document gives the same bytes; what cannot be said in the standard is refused and never bent;
amounts of a document are those of its invoice to the minor unit.
"""
