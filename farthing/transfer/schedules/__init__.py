"""Scheduled tasks: which window is due, and who begins its export.

Owns intervals and windows (`windows`), the life of a scheduled task (`lifecycle`), and what begins by itself (`due`).
Does not own how an export runs.

Invariant: windows are half-open, whole intervals, and derived from the schedule, never from when somebody looks.
"""
