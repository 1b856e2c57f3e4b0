"""Reading and writing rows: by id, in lists, by search conditions, many at once; and noting what is changed.

Owns no table. Invariant: a row that is not there, foreign or deleted is one answer.
"""
