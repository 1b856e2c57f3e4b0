"""Events in ClickHouse: the tables there, what is written to them and how they are asked.

Owns the schema and every statement in ClickHouse's language, and `writes.pending`, the one table in PostgreSQL that
makes a write exactly once.

Does not own the order of arrival, the history of corrections, who was told what (`usage_notices`) or where events stood
(`events_withdrawn`): those stay in PostgreSQL.

Invariants: a write is recorded in PostgreSQL before the first row reaches ClickHouse and until the last one has; one
write of an environment at a time; a number is a decimal from end to end, and what needs a division is divided in
Python; every statement names its environment, because nothing here confines one that forgets.
"""
