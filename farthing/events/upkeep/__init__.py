"""Keeping the store true: measuring again for new meters (`backfill`), proving it (`reconcile`), forgetting old events
(`retention`).

Invariants: every duty works in bounded batches and may be repeated; nothing that somebody still needs is forgotten.
"""
