"""The one usage query: what is asked (`usage_query`), its SELECT (`usage_statement`), windows (`cuts`), and its
answers.

Invariant: every endpoint and every invoice measures through it.
"""
