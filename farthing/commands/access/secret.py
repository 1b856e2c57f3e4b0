"""The commands about the master key: `farthing secret rotate` and `farthing secret replace`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from farthing.commands.running import DataDir, console, read_settings
from farthing.core.errors import ValidationFailed
from farthing.settings import Settings

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

secret = cyclopts.App(name="secret", help="The master key of this deployment.")


def _with_any_key(settings: Settings, task: Callable[[Database], Awaitable[None]]) -> None:
    """Run `task` on the configured database, migrated, without comparing the master key first."""
    from farthing.serving.engine import Engine, engine
    from farthing.serving.server import unlocked

    async def run(used: Engine) -> None:
        async with unlocked(settings, used) as database:
            await task(database)

    with engine(settings) as used:
        asyncio.run(run(used))


@secret.command
def rotate(
    *,
    keep_days: Annotated[
        int, Parameter(help="How long the old key is accepted for what it made.", validator=Number(gte=0))
    ] = 30,
    end_previous: Annotated[
        bool, Parameter(help="Rotate although a still older key is accepted; that ends.", negative="")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Change the master key; run again after a crash, it finishes what was begun.

    With FARTHING_SECRET_KEY: set it to the new key, and FARTHING_SECRET_KEY_PREVIOUS to the one in force.
    """
    from farthing import rotation

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        done = await rotation.rotate(settings, database, timedelta(days=keep_days), end_previous=end_previous)
        verb = "was in force already" if done.already_in_force else "is in force"
        console.print(f"the new master key {verb}")
        console.print(
            f"sealed again: {done.credentials} connections, {done.second_factors} second factors, "
            f"{done.webhook_endpoints} webhook endpoints"
        )
        if done.accepted_until is not None:
            console.print(f"the old key is accepted until {done.accepted_until:%Y-%m-%d %H:%M} UTC")

    _with_any_key(settings, task)


@secret.command
def replace(
    *,
    lost: Annotated[bool, Parameter(help="Yes, the old key is lost for good.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new master key where the old one is lost: API keys, sessions and providers' credentials end with it."""
    from farthing import rotation

    settings = read_settings(data_dir=data_dir)
    if not lost:
        raise ValidationFailed.of("--lost", "must be given: every API key and stored credential ends with the old key")
    if settings.secret_key is None:
        _give_the_engine_a_key(Path(settings.data_dir))

    async def task(database: Database) -> None:
        await rotation.replace_lost(settings, database)
        console.print("a new master key is in force; make API keys with `farthing keys create`")

    _with_any_key(settings, task)


def _give_the_engine_a_key(folder: Path) -> None:
    """The engine does not start without a usable key; this one is in force once the database says so."""
    from farthing import secret_file

    try:
        secret_file.read(folder)
    except secret_file.UnusableSecretKey:
        coming = secret_file.draw()
        secret_file.write_durably(folder / secret_file.NEXT, coming)
        secret_file.write_durably(folder / secret_file.NAME, coming)
