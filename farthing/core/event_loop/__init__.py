"""Beside the event loop: tasks that go on for ever are ended (`ending`), long computations take short turns (`slices`).

Knows nothing of what is computed or waited for.
"""
