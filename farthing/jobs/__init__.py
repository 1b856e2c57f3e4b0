"""The job queue and the periodic duties that keep the books true without anybody asking.

Owns when things run and how a run is recorded; what a duty does lives with its domain. Invariants:

- a duty that spans environments opens one scoped transaction per environment; one that fails does not stop the rest;
- repeating a duty changes nothing: its exactly-once guard is in the data, not in the schedule;
- a missed tick runs once, not once per tick missed;
- one run of a duty at a time, whatever becomes of processes: a session lock guards it, the queue's rows do not;
- a job in the hand of a dead worker is taken up by another, and a duty that hangs or raises keeps no other waiting.
"""
