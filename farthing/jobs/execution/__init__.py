"""One run of a job: alone of its name, within its time, in one worker's hand, and what is said of how it failed.

Does not own what runs or when (`jobs.duties`, `jobs.workers`). Invariants: a session lock of PostgreSQL keeps a name to
one run, whatever becomes of processes; what reaches its limit is cancelled or left behind; only the worker that has a
job in hand says how it ended.
"""
