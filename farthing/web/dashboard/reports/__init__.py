"""Reports as pages: figures over time or by something, with a sentence on what they mean, a table, a chart and files.

Owns which reports stand together (`catalogue`), how an address asks for one (`asking`), the table that answers
(`answering`), the names of what rows are about (`names`) and the pages (`pages`). Does not own any figure: each is
answered by `farthing.reporting.analytics`, as for the API.

Invariants: a figure is the API's; a file holds the table of its page with all rows; amounts of two currencies are never
added.
"""
