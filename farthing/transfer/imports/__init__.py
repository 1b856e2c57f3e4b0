"""Imports: a file becomes rows, rows become requests, and each takes the same way in as a request of the API.

Owns how files are read, and what columns they have (`files`), what rows become (`kinds`), and how a run goes on where
it was interrupted (`run`). Does not own what a row may hold: the requests of events, customers, prices and
features decide.

Invariant: whatever a file holds, a run ends, in bounded memory, and each row that was not imported has a reason.
"""
