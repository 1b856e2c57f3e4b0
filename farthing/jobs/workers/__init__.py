"""Workers: who takes jobs off the queue and performs them, as long as a process lives.

Owns the loop, its pace, and what each worker looks after beside its own jobs. Does not own what the jobs do. Invariant:
a job in the hand of a dead worker is taken up by another, and a run that is due and missing is put into the queue.
"""
