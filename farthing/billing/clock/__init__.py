"""Test clocks: an environment's time stands still until somebody moves it, and what is due on the way is done.

`advance` moves it, stopping at every instant at which a duty would find something new to do (`due_instants`).

Invariant: one mover at a time; a move that was interrupted goes on when it is asked for again.
"""
