"""What changes the events in ClickHouse: appends, corrections, backfills and retention.

Does not own how events are asked (`queries`). Invariant: PostgreSQL knows of a write until all its rows are in
ClickHouse, so that each happens exactly once; beside appends, writes hold the lock of the environment's writes.
"""
