"""The commands about where events are stored: `farthing events migrate`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.clickhouse_address import BadAddress
from farthing.commands.running import DataDir, console, read_settings
from farthing.core.origin import COMMAND_LINE, ChangeSource, acting_as
from farthing.settings import BadSettings

if TYPE_CHECKING:
    from farthing.settings import Settings
    from farthing.storage.postgres import Database

POSTGRES = "postgresql"

events = cyclopts.App(help="Where events are stored.")


@events.command
def migrate(
    *,
    to: Annotated[
        str, Parameter(help="clickhouse://user:secret@host:8123/database, or postgresql to bring events back.")
    ],
    give_up: Annotated[
        bool, Parameter(help="Leave the events where they are, and remove what was copied.", negative="")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Move all events to another store, while Farthing is stopped; a move that was interrupted goes on.

    The new store is used only if its counts and sums are those of the former one.
    """
    from farthing.serving.engine import Engine, engine
    from farthing.serving.server import unlocked

    settings = read_settings(data_dir=data_dir)

    async def run(used: Engine) -> None:
        async with unlocked(settings, used) as database:
            await _move(settings, database, to, give_up=give_up)

    with engine(settings) as used, acting_as(COMMAND_LINE, ChangeSource.CLI):
        asyncio.run(run(used))


async def _move(settings: Settings, database: Database, to: str, *, give_up: bool) -> None:
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from farthing.events.stores import moving
    from farthing.events.stores.place import clickhouse_at

    is_back = to == POSTGRES
    if is_back and settings.events_url is None:
        raise BadSettings("FARTHING_EVENTS_URL must name the ClickHouse that the events are brought back from")
    try:
        clickhouse = clickhouse_at(settings.events_url if is_back else to, settings.events_cluster)
    except BadAddress as error:
        raise BadSettings(f"--to {error}, or postgresql") from error
    assert clickhouse is not None, "one of the two is given"
    if give_up:
        await moving.give_up(database, clickhouse)
        console.print("given up: the events are where they were")
        return
    move = moving.move_to_postgres if is_back else moving.move_to_clickhouse
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("rows copied", total=None)
        copied = await move(database, clickhouse, lambda rows: progress.advance(task, rows))
    console.print(f"{copied} rows copied, and counts and sums of both stores are the same")
    console.print("now unset FARTHING_EVENTS_URL and start" if is_back else "now set FARTHING_EVENTS_URL and start")
