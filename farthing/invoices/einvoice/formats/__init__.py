"""The files: one document of the model written as UBL, as CII, or as a PDF that carries its CII.

Owns the syntax of each format: names, order and attributes of elements, and PDF/A-3. Does not own what a document says
(`model`) nor whether a format takes it (`requirements`).

Invariant: the same model gives the same bytes; a writer reads nothing but the model.
"""
