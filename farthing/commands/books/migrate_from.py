"""The command `farthing migrate-from`: copy the books of a running system."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from farthing.commands.running import DataDir, console, in_utc, read_settings, with_database
from farthing.core.errors import ValidationFailed

if TYPE_CHECKING:
    from farthing.storage.postgres import Database

KEY_VARIABLE = "FLEXPRICE_API_KEY"

migrate_from = cyclopts.App(name="migrate-from", help="Copy the books of a running system into an empty environment.")


@migrate_from.command
def flexprice(
    *,
    url: Annotated[str, Parameter(help="Address of its API, such as https://api.example.com/v1.")],
    key: Annotated[str | None, Parameter(help=f"An API key that may read everything ({KEY_VARIABLE}).")] = None,
    source_environment: Annotated[
        str | None, Parameter(help="Environment of the source, where the key does not say which.")
    ] = None,
    environment: Annotated[str | None, Parameter(help="Environment to fill; default: the only or oldest one.")] = None,
    events_since: Annotated[
        datetime | None, Parameter(help="Also copy events since then (UTC), so that the open periods are billed right.")
    ] = None,
    report: Annotated[Path | None, Parameter(help="Write the whole report to this file: .json, or .csv.")] = None,
    dry_run: Annotated[bool, Parameter(help="Do everything, say what came of it, and undo it.", negative="")] = False,
    only_compare: Annotated[
        bool, Parameter(help="Copy nothing; compare what customers owe on both sides.", negative="")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Copy from a server of the Flexprice API, version 1; run again, it goes on where it stopped.

    The exit status is 0 only if every record was carried and both sides agree.
    """
    from farthing.migration.command import RequestedMigration, migrate

    given = key or os.environ.get(KEY_VARIABLE)
    if not given:
        raise ValidationFailed.of("key", f"is required; give it with --key or in {KEY_VARIABLE}")
    settings = read_settings(data_dir=data_dir)
    requested = RequestedMigration(
        url=url,
        key=given,
        source_environment=source_environment,
        environment=environment,
        events_since=in_utc(events_since),
        report=report,
        dry_run=dry_run,
        only_compare=only_compare,
    )

    async def task(database: Database) -> int:
        return await migrate(database, console, requested)

    with_database(settings, task)
