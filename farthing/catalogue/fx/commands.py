"""The command `farthing fx import`: a file of euro reference rates into one environment or all."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from farthing.catalogue.fx.market import import_days
from farthing.catalogue.fx.reference_file import UnusableReferenceFile, read_reference_file
from farthing.core.errors import ValidationFailed
from farthing.identity.environments import live_environments
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

STANDARD_INPUT = "-"


async def import_reference_rates(database: Database, console: Console, file: str, environment: str | None) -> None:
    """Import a file, or what comes by standard input, into the live environments, or the one asked for.

    Raises ValidationFailed for what is no such file, NotFound for an unknown environment.
    """
    try:
        content = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()  # noqa: ASYNC240
        days = read_reference_file(content.decode())
    except UnicodeDecodeError as error:
        raise ValidationFailed.of("file", "must be text in UTF-8") from error
    except OSError as error:
        raise ValidationFailed.of("file", f"cannot be read: {error.strerror}") from error
    except UnusableReferenceFile as error:
        raise ValidationFailed.of("file", str(error)) from error
    for row in await live_environments(database, environment):
        async with database.transaction(Scope(row.tenant_id, row.id)) as session:
            done = await import_days(session, days)
        console.print(
            f"{row.name} ({row.id}): {done.days:,} {'day' if done.days == 1 else 'days'} up to {done.newest_day}, "
            f"{len(done.moved):,} market {'rate' if len(done.moved) == 1 else 'rates'} moved"
        )
        for pair in done.not_made:
            console.print(f"{'':>12}no day has both currencies of {pair}; its rate stays as it was")
