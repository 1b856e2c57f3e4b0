"""What single countries and the Peppol network want of a document beyond EN 16931.

Owns the table of their rules, and what a document says differently because of them. Formats of files are above, what a
party said comes from there.
"""
