"""Reports: figures that are read from everything below and change nothing.

Owns analytics and its views (`analytics`), revenue and its recognition (`revenue`), the proof of both (`proof`) and the
command that prints a report (`commands`), what usage earned and cost (`costing`), how much of what it may use a
customer has used (`feature_usage`), the statement of account (`statement`) and where the number of a line came from
(`line_explanation`). Does not own any figure of an invoice; it adds up what others own.

Invariants: one snapshot each; currencies are never added.
"""
