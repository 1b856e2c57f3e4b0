"""A customer's visit to the portal: whose it is, in which language and look, and how a page refuses what was typed.

Owns the session that a token opens (`session`), the frame, texts and refusals of every page (`showing`), and numbers as
the reader writes them (`typed_numbers`). Knows none of the pages. Invariant: the token alone says which customer it is.
"""
