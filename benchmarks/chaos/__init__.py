"""Breaking a running Farthing on purpose: `python -m benchmarks.chaos --rounds 200 --seed 1`.

The harness starts real processes, loads them with mixed traffic from outside, and breaks one thing per round: it kills,
pauses and restarts processes, uses up connections, and fills the disk. It keeps a ledger of what was acknowledged.
At the end of each phase it repeats what got no answer, runs `farthing doctor`, and compares the ledger with the
database: what was acknowledged is there, once, with its content.

Parts: `service` (the processes), `traffic` (the load, and the ledger of it), `judging` (recovery, comparison, the
doctor, the report); `schedule` (which faults, by seed), `faults`, `shared_runs` (long billing runs), and `run`, which
leads through the rounds.
"""
