"""What a failure of PostgreSQL means to whoever asked, and to whoever runs it; nothing of SQL or the driver is shown.

Three kinds. What the request itself caused is answered as its mistake. What passes (a lock, a cut connection, a full
disk) is answered with when to come back. What a validated request cannot cause (a violated check, a missing value) is
an error of this program: it is answered 500 and logged as one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from farthing.core import errors

_OUT_OF_RANGE = {"22003", "22001", "22008", "22021", "22P02", "22P05", "22007"}
_RACES = {"40001", "40P01"}
_LOCK_TIMEOUT = "55P03"
_READ_ONLY = "25006"
_CUT = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"}
_CONNECTION_EXCEPTION = "08"
_INVALIDATED = "8s2b"
"""SQLAlchemy's code for a session whose connection was lost earlier."""

_PASSING: dict[str, tuple[str, int]] = {
    "57014": ("The database did not finish in the time a request may take; please ask for less or try again", 5),
    "53100": ("The disk of the database is full: nothing can be written until space is freed", 30),
    "53200": ("The database ran out of memory; please try again", 10),
    "53300": ("The database has no free connection; please try again", 5),
    "53400": ("The database reached a limit of its configuration; please try again", 10),
    _READ_ONLY: ("The database takes no writes at present: it is set read-only", 30),
}
"""By SQLSTATE: what is said, and when to come back, in seconds."""

_ACTIONS = {
    "57014": "a statement passed FARTHING_STATEMENT_TIMEOUT_SECONDS; look for a missing index or raise it",
    "53100": "free space on the disk of PostgreSQL's data folder, or enlarge it; no restart is needed",
    "53200": "give PostgreSQL more memory, or lower work_mem or the number of connections",
    "53300": "raise max_connections of PostgreSQL, or lower FARTHING_POOL_SIZE or the number of processes",
    "53400": "look at temp_file_limit and the other limits in PostgreSQL's log",
    _READ_ONLY: "FARTHING_DATABASE_URL leads to a standby, or default_transaction_read_only is on; use the primary",
}

CUT = "The connection to the database was lost, and what was not finished is undone; please try again"
UNREACHABLE = "The database cannot be reached; please try again"


def failure_of(error: BaseException) -> errors.FarthingError | None:
    """The answer to a failure of the storage; None for an exception that is none."""
    if isinstance(error, PoolTimeout):
        return errors.ServiceUnavailable("All database connections are in use; please try again", retry_after_seconds=2)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _passing("53100")
    if is_cut(error):
        return errors.ServiceUnavailable(CUT, retry_after_seconds=1)
    cause = _of_driver(error)
    if cause is None:
        return None
    state = cause.sqlstate or ""
    if state in _PASSING:
        return _passing(state)
    if isinstance(cause, psycopg.OperationalError) and not state:
        # the server says these before it can give a code
        if "too many clients" in str(cause) or "remaining connection slots" in str(cause):
            return _passing("53300")
        return errors.ServiceUnavailable(UNREACHABLE, retry_after_seconds=2)
    return _refusal(state)


def _refusal(state: str) -> errors.FarthingError:
    if state in _OUT_OF_RANGE:
        return errors.ValidationFailed("A value is out of the range that can be stored")
    if state == _LOCK_TIMEOUT:
        return errors.VersionConflict(
            "Another request has been changing the same data for too long; please try again", retry_after_seconds=1
        )
    if state in _RACES:
        return errors.VersionConflict(
            "The data was changed by another request at the same time; please try again", retry_after_seconds=1
        )
    if state == "23505":
        return errors.AlreadyExists("An entity with these unique values already exists")
    if state == "23503":
        return errors.InvalidOperation("The request refers to something that does not exist or is still in use")
    return errors.DatabaseFailed("The database could not complete the request")


def _passing(state: str) -> errors.ServiceUnavailable:
    message, seconds = _PASSING[state]
    return errors.ServiceUnavailable(message, retry_after_seconds=seconds)


def what_to_do(error: BaseException) -> str | None:
    """What the operator can do about it, for the log; None when nothing needs doing."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _ACTIONS["53100"]
    if isinstance(error, PoolTimeout):
        return "raise FARTHING_POOL_SIZE, or add processes"
    cause = _of_driver(error)
    if cause is None:
        return None
    if cause.sqlstate in {"23502", "23514"}:
        return f"a rule of the database caught an error of this program ({cause.diag.constraint_name}); report it"
    return _ACTIONS.get(cause.sqlstate or "")


def is_cut(error: BaseException) -> bool:
    """Whether the connection went away while it was in use: nothing is known of a commit that was under way."""
    if isinstance(error, PendingRollbackError):
        return error.code == _INVALIDATED
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = _of_driver(error)
    if cause is None:
        return False
    state = cause.sqlstate or ""
    if state in _CUT or state.startswith(_CONNECTION_EXCEPTION):
        return True
    if state:
        return False
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError) and any(
        words in str(cause)
        for words in ("connection is closed", "connection is lost", "server closed", "consuming input")
    )


def is_read_only_violation(error: BaseException) -> bool:
    """Whether something was written in a transaction that may only read."""
    cause = _of_driver(error)
    return cause is not None and cause.sqlstate == _READ_ONLY


def _of_driver(error: BaseException) -> psycopg.Error | None:
    for candidate in _wrapped(error):
        if isinstance(candidate, psycopg.Error):
            return candidate
    return None


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, DBAPIError) and error.orig is not None:
        yield error.orig
