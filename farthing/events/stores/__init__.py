"""Where events are stored: PostgreSQL, or ClickHouse for billions of them.

Owns PostgreSQL (`postgres`) and ClickHouse (`clickhouse`) behind the port that both keep, and which of the two holds a
deployment's events (`place`).

Does not own that port (`usage.event_store`), what an
event counts (`metering`), who sends it (`ingest`) or what is asked (`usage`, `analytics`).

Invariants: both stores answer every question alike; what a store cannot do it refuses by name; a process that is set to
another store than the one that holds the events does not start.
"""
