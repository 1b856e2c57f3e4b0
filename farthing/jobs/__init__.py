"""The job queue and the periodic duties that keep the books true without anybody asking.

Owns when things run and how a run is recorded; what a duty does lives with its domain. Invariants:

- a duty that spans environments opens one scoped transaction per environment; one that fails does not stop the rest;
- repeating a duty changes nothing: its exactly-once guard is in the data, not in the schedule;
- a missed tick runs once, not once per tick missed.
"""
