"""Tasks: how one comes to be, is begun, moves on and ends, and what is known of its rows.

Owns the states of tasks and attempts (`lifecycle`), imports that are asked for (`creation`), the rows that failed
(`problems`), and letting a worker begin at once (`queueing`). Does not own how an import or an export runs.

Invariant: only the latest attempt of a task that is being processed writes to it.
"""
