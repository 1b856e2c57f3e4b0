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
from farthing.serving.loading import Loading
from farthing.settings import Settings, load

if TYPE_CHECKING:
    from farthing.serving.engine import Engine
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
    settings: Settings,
    task: Callable[[Database], Awaitable[int | None]],
    demand: Demand | None = None,
    loading: Loading | None = None,
) -> None:
    """Run `task` on the configured database, migrated; its result is the exit status.

    `demand`: the connections of a process that stays; what the server cannot grant is found out at the start. `loading`
    is that of the application, if it is under way.
    """
    from farthing.serving.engine import engine

    loading = loading or Loading(serves=False)

    async def run(used: Engine) -> int:
        from farthing.serving import server

        async with server.opened(settings, used, demand) as database:
            return await task(database) or 0

    # a process that stays serves others; any other command is the operator's own doing
    actor, source = (COMMAND_LINE, ChangeSource.CLI) if demand is None else (SERVICE, ChangeSource.WORKER)
    with engine(settings, [] if demand is None else [demand]) as used, acting_as(actor, source):
        loading.wait_for_code()
        status = asyncio.run(run(used))
    if status:
        sys.exit(status)
