"""What may be said of a failure where others read it: no SQL, no driver's text, no path. The log has all of it."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from farthing.core.errors import FarthingError


def public_reason(error: BaseException) -> str:
    """A sentence about `error` that holds nothing internal."""
    if isinstance(error, FarthingError):
        return error.message
    if isinstance(error, PoolTimeout):
        return "no database connection was free in time"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.OperationalError):
        return "the database could not be reached, or did not answer in time"
    if isinstance(cause, psycopg.errors.NumericValueOutOfRange):
        return "an amount or a number is larger than can be stored; the log says which"
    if isinstance(cause, psycopg.Error):
        return "the database could not do what was asked of it; the log says more"
    return f"an internal error ({type(error).__name__}); the log says more"
