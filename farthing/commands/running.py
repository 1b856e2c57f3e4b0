"""What commands share: where they print, the settings, and running a task on the database."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, overload

from cyclopts import Parameter
from rich.console import Console

from farthing.core.origin import COMMAND_LINE, SERVICE, ChangeSource, acting_as
from farthing.settings import Settings, load

if TYPE_CHECKING:
    from farthing.storage.capacity import Demand
    from farthing.storage.postgres import Database

# a pipe has no width; tables of ids must not be cut to fit one
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 250)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

DataDir = Annotated[str | None, Parameter(help="Folder of the embedded PostgreSQL (FARTHING_DATA_DIR).")]


def read_settings(**given: object) -> Settings:
    """The settings of this process, with what the command line gives; logging follows them from here on."""
    from farthing import logs

    settings = load(os.environ, **given)
    logs.configure(settings)
    return settings


@overload
def in_utc(given: datetime) -> datetime: ...


@overload
def in_utc(given: datetime | None) -> datetime | None: ...


def in_utc(given: datetime | None) -> datetime | None:
    """A time as it was typed, in UTC unless it says otherwise."""
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)


def with_database(
    settings: Settings, task: Callable[[Database], Awaitable[int | None]], demand: Demand | None = None
) -> None:
    """Run `task` on the configured database, migrated; its result is the exit status.

    `demand`: the connections of a process that stays; what the server cannot grant is found out at the start.
    """
    from farthing.serving import server

    async def run(engine: server.Engine) -> int:
        async with server.opened(settings, engine, demand) as database:
            return await task(database) or 0

    # a process that stays serves others; any other command is the operator's own doing
    actor, source = (COMMAND_LINE, ChangeSource.CLI) if demand is None else (SERVICE, ChangeSource.WORKER)
    with server.engine(settings, [] if demand is None else [demand]) as engine, acting_as(actor, source):
        status = asyncio.run(run(engine))
    if status:
        sys.exit(status)
