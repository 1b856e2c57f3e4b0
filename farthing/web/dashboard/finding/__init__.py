"""Finding: one box for whatever a person remembers of a thing.

Owns what is looked for in a text that was typed (`typed`), where (`search`) and its page (`pages`). Does not own the
words of customers, which a trigger keeps.

Invariants: every look-up is a range of an index or is read from one; nobody finds what their role may not read.
"""
