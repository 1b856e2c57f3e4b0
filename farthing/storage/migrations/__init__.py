"""Alembic migrations: forward-only, applied under an advisory lock so that many processes may start at once.

`upgrade(url)` brings a database to this release's schema; `pending(url)` tells whether it is there. A new migration
is drafted from the tables with `python -m farthing.storage.migrations "what it does"` and then read and edited; the
draft adds row-level security to every new table that has a scope.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from farthing.storage.postgres import dialect_url

_LOCK = 0x46_61_72_74
LOCK_TIMEOUT_SECONDS = 60
"""How long a migration waits for a table: everybody else's statements on it queue behind it meanwhile."""


def configuration(url: str) -> Config:
    """Alembic's settings for one database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = dialect_url(url)
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing, one process at a time."""
    config = configuration(url)
    engine = create_engine(dialect_url(url))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
            connection.commit()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                connection.commit()
    finally:
        engine.dispose()


def exclude_other_migrations(connection: Connection) -> None:
    """Make every other process wait with its migrations until the transaction of `connection` ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def upgrade_within(connection: Connection, revision: str) -> None:
    """Apply what is missing as a part of the transaction that `connection` is in, which alone commits or undoes it."""
    assert connection.in_transaction()
    config = configuration("postgresql://")  # the connection is all that is used
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def is_known(revision: str) -> bool:
    """Whether this release has a migration of that revision."""
    scripts = ScriptDirectory.from_config(configuration("postgresql://"))
    return any(script.revision == revision for script in scripts.walk_revisions())


def state(url: str) -> tuple[str | None, str | None]:
    """The revision the database is at and the one this release needs."""
    engine = create_engine(dialect_url(url))
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return current, ScriptDirectory.from_config(configuration(url)).get_current_head()
