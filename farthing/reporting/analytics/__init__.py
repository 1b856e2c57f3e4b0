"""Analytics: a question about figures over time becomes columns and rows.

Owns the catalogue of metrics (`catalogue`), the language of questions (`definition`, `periods`), what each metric
measures (`metrics`), the table that answers (`engine`), and stored questions (`views`). Does not own any figure of an
invoice, a wallet or an event: it adds up what others own.

Invariants: an answer is read from one snapshot; amounts of two currencies are never added; the buckets of a flow add up
to the flow over their whole range; nothing is written but views.
"""
