"""Why a database that was configured cannot be used, in one line for whoever runs it."""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import SQLAlchemyError

UNREACHABLE = "the database cannot be reached"
NOT_OURS = "the database cannot be brought to this release's schema"


class MigrationRefused(RuntimeError):
    """A database is at a revision from which this release knows no way."""


class UnusableDatabase(RuntimeError):
    """The database cannot be reached, or is not one of ours; the message says why and what to do."""

    @classmethod
    def because(cls, error: Exception) -> UnusableDatabase:
        """What `error` of a driver or of a migration says to an operator, without the URL and its password."""
        cause = getattr(error, "orig", None) or error
        reason = _first_line(cause)
        if isinstance(cause, MigrationRefused):
            revision = re.search(r"identified by '(.+)'", reason)
            if revision is not None:
                reason = f"it is at revision {revision[1]}, which a later release made; run that release"
            return cls(f"{NOT_OURS}: {reason}")
        if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
            return cls(f"{UNREACHABLE}: {reason}; check FARTHING_DATABASE_URL, and that PostgreSQL runs there")
        if isinstance(cause, psycopg.Error):
            return cls(f"{NOT_OURS}: {reason}; check that FARTHING_DATABASE_URL names a database that its role owns")
        return cls(f"FARTHING_DATABASE_URL is no usable URL: {reason}")


def _first_line(error: BaseException) -> str:
    """The first line of what an error says; a URL in it would show a password, and is left out."""
    text = str(error) if not isinstance(error, SQLAlchemyError) else str(error.args[0] if error.args else error)
    lines = text.strip().splitlines() or [type(error).__name__]
    return re.sub(r"postgres(?:ql)?(?:\+\w+)?://\S+", "the URL", lines[0]).strip(" .;")
