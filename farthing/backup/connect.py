"""The database that is backed up: a server by URL, a running embedded one through its socket, or one started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from farthing.backup import BackupFailed
from farthing.backup.schema import Connection
from farthing.serving.engine import engine
from farthing.settings import Settings
from farthing.storage.embedded import EmbeddedPostgres


@contextmanager
def source(settings: Settings) -> Iterator[Connection]:
    """A connection to the configured database as it is: nothing is migrated. Raises BackupFailed.

    The embedded one is read as its superuser, from whom row-level security hides nothing.
    """
    if settings.database_url is not None:
        with connected(settings.database_url) as connection:
            yield connection
        return
    folder = Path(settings.data_dir)
    if not (folder / "postgres" / "PG_VERSION").exists():
        raise BackupFailed(f"{folder} holds no database; name the data folder with --data-dir")
    server = EmbeddedPostgres(folder)
    url = server.url(role="postgres")
    try:
        connection = psycopg.connect(url, connect_timeout=10)
    except psycopg.OperationalError:
        # nobody serves this folder; should somebody just begin to, its lock says so
        with engine(settings), connected(url) as connection:
            yield connection
        return
    with connection:
        yield connection


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection whose transaction is committed at the end, or undone. Raises BackupFailed."""
    try:
        connection = psycopg.connect(plain_url(url), connect_timeout=10)
    except psycopg.OperationalError as error:
        raise BackupFailed(f"the database cannot be reached: {str(error).strip()}") from None
    with connection:
        yield connection


def plain_url(url: str) -> str:
    """A configured URL as libpq reads it."""
    return "postgresql://" + url.partition("://")[2]
