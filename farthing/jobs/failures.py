"""What may be said of a failure where others read it: no SQL, no driver's text, no path. The log has all of it."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from farthing.core.errors import FarthingError
from farthing.jobs.exclusion import LockLost


class TookTooLong(TimeoutError):
    """A job was stopped because it reached its time limit."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__(f"it took longer than {_in_words(limit)} and was stopped")


def _in_words(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"


def reason_of(error: BaseException) -> str:
    """A sentence about `error` that holds nothing internal."""
    if isinstance(error, FarthingError):
        return error.message
    if isinstance(error, TookTooLong):
        return str(error)
    if isinstance(error, LockLost):
        return "its process lost the database, or gave no sign of life, and the work was taken from it"
    if isinstance(error, PoolTimeout):
        return "no database connection was free in time"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.OperationalError):
        return "the database could not be reached, or did not answer in time"
    if isinstance(cause, psycopg.Error):
        return "the database could not do what was asked of it; the log says more"
    return f"an internal error ({type(error).__name__}); the log says more"
