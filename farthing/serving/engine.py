"""The PostgreSQL that a process uses: the one it was told of, or an embedded one of its own.

Loads little, so that an embedded one is on its way before the application is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from farthing import secret_file
from farthing.settings import Settings
from farthing.storage.capacity import OTHERS, Demand
from farthing.storage.connections.liveness import wait_until_accepting
from farthing.storage.embedded import MAX_CONNECTIONS, EmbeddedFailed, EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Engine:
    """The PostgreSQL in use; `embedded` when it is ours to look after."""

    url: str
    embedded: EmbeddedPostgres | None = None


@contextmanager
def engine(settings: Settings, demands: Sequence[Demand] = ()) -> Iterator[Engine]:
    """The PostgreSQL to use: the configured one, or an embedded one that runs while this is open.

    An embedded one grants what the processes that stay want, and some to others. A configured one that turns
    everybody away for a moment, as after a crash, is waited for.
    """
    if settings.database_url is not None:
        wait_until_accepting(settings.database_url)
        yield Engine(settings.database_url)
        return
    archive = None if settings.wal_archive_dir is None else Path(settings.wal_archive_dir)
    connections = sum(demand.total for demand in demands) + OTHERS if demands else MAX_CONNECTIONS
    given = {"max_connections": str(connections), **settings.embedded_settings()}
    server = EmbeddedPostgres(Path(settings.data_dir), given, wal_archive=archive)
    try:
        if settings.secret_key is None:
            secret_file.ensure(Path(settings.data_dir))
        server.start()
    except OSError as error:
        place = error.filename or settings.data_dir
        raise EmbeddedFailed(
            f"the data folder {settings.data_dir} cannot be used: {place}: {error.strerror}"
        ) from error
    try:
        yield Engine(server.url(), server)
    finally:
        server.stop()
