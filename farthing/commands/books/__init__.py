"""The commands that write to the books, bring something into them or take it out.

Owns what an operator types and reads; each calls the package that does the work, in transactions of its own.
"""
