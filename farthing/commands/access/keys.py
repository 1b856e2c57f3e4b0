"""The commands about API keys: `farthing keys create`, `list`, `revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, errors, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database


keys = cyclopts.App(name="keys", help="API keys of this deployment.")


@keys.command(name="create")
def keys_create(
    name: Annotated[str, Parameter(help="What the key is for.")],
    *,
    environment: Annotated[str | None, Parameter(help="Environment id; default: the only or oldest one.")] = None,
    publishable: Annotated[bool, Parameter(help="A key that may only send events.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make an API key of the deployment's owner and print it, once."""
    from farthing.identity.credentials import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        console.print(await operator.create_key(database, settings, name, environment, publishable=publishable))

    with_database(settings, task)


@keys.command(name="list")
def keys_list(*, data_dir: DataDir = None) -> None:
    """List the keys of every tenant; only what may be shown of them."""
    from rich.table import Table

    from farthing.identity.credentials import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        table = Table("id", "key", "name", "tenant", "environment", "status", "expires")
        for row in await operator.list_keys(database):
            table.add_row(*row)
        console.print(table)

    with_database(settings, task)


@keys.command(name="revoke")
def keys_revoke(id: Annotated[str, Parameter(help="The key's id.")], *, data_dir: DataDir = None) -> None:
    """Revoke a key, in every process, at once."""
    from farthing.identity.credentials import operator

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        if await operator.revoke_key(database, id):
            console.print(f"revoked {id}")
            return 0
        errors.print(f"no key {id}")
        return 1

    with_database(settings, task)
