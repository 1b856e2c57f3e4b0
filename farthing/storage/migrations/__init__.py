"""Alembic migrations: forward-only, applied under an advisory lock so that many processes may start at once.

`upgrade(url)` brings a database to this release's schema; `pending(url)` tells whether it is there. A new migration
is drafted from the tables with `python -m farthing.storage.migrations "what it does"` and then read and edited; the
draft adds row-level security to every new table that has a scope. Alembic is loaded where something is to be done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, text

from farthing.storage.connections.unusable import MigrationRefused
from farthing.storage.postgres import dialect_url

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x46_61_72_74
LOCK_TIMEOUT_SECONDS = 60
"""How long a migration waits for a table: everybody else's statements on it queue behind it meanwhile."""


def configuration(url: str) -> Config:
    """Alembic's settings for one database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = dialect_url(url)
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing, one process at a time. Raises MigrationRefused for a revision that nobody knows."""
    engine = create_engine(dialect_url(url))
    try:
        with engine.connect() as connection:
            if revision == "head" and _revision_of(connection) == newest():
                return
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
            connection.commit()
            try:
                _upgrade(connection, revision)
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                connection.commit()
    finally:
        engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.util.exc import CommandError

    config = configuration("postgresql://")  # the connection is all that is used
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise MigrationRefused(str(error)) from error


def _revision_of(connection: Connection) -> str | None:
    """The revision a database is at; None before the first."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def newest() -> str:
    """The revision this release needs: they are numbered, and their files are named by them."""
    return max(path.name.partition("_")[0] for path in Path(__file__).with_name("versions").glob("[0-9]*.py"))


def exclude_other_migrations(connection: Connection) -> None:
    """Make every other process wait with its migrations until the transaction of `connection` ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def upgrade_within(connection: Connection, revision: str) -> None:
    """Apply what is missing as a part of the transaction that `connection` is in, which alone commits or undoes it."""
    assert connection.in_transaction()
    _upgrade(connection, revision)


def is_known(revision: str) -> bool:
    """Whether this release has a migration of that revision."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(configuration("postgresql://"))
    return any(script.revision == revision for script in scripts.walk_revisions())


def state(url: str) -> tuple[str | None, str | None]:
    """The revision the database is at and the one this release needs."""
    engine = create_engine(dialect_url(url))
    try:
        with engine.connect() as connection:
            return _revision_of(connection), newest()
    finally:
        engine.dispose()
