"""What may be said of a job's failure where others read it: as of any failure, and what can happen to jobs alone."""

from __future__ import annotations

from datetime import timedelta

from farthing.jobs.execution.exclusion import LockLost
from farthing.storage.connections.reasons import public_reason


class TookTooLong(TimeoutError):
    """A job was stopped because it reached its time limit."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__(f"it took longer than {_in_words(limit)} and was stopped")


def _in_words(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"


def reason_of(error: BaseException) -> str:
    """A sentence about `error` that holds nothing internal."""
    if isinstance(error, TookTooLong):
        return str(error)
    if isinstance(error, LockLost):
        return "its process lost the database, or gave no sign of life, and the work was taken from it"
    return public_reason(error)
