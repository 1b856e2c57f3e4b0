"""The commands that look after a deployment: `farthing migrate`, `doctor`, `backup`, `restore`, `demo`; and those that
print what describes it: `openapi`, `sbom`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from farthing.commands.running import DataDir, console, errors, read_settings, with_database

if TYPE_CHECKING:
    from farthing.storage.postgres import Database


def migrate(*, data_dir: DataDir = None) -> None:
    """Bring the database to this release's schema; safe to run from many places at once."""
    from farthing.serving.engine import engine
    from farthing.serving.server import bring_up_to_date
    from farthing.storage.migrations import state

    settings = read_settings(data_dir=data_dir)
    with engine(settings) as used:
        before, _ = state(used.url)
        bring_up_to_date(used.url)
        after, _ = state(used.url)
    console.print(f"schema {before or 'empty'} -> {after}" if before != after else f"schema {after}: nothing to do")


def doctor(*, data_dir: DataDir = None) -> None:
    """Check configuration, engines and schema, then derive every figure of every invoice again.

    The exit status is 0 only if nothing differs.
    """
    from farthing.doctor.examination import examine

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> int:
        return await examine(settings, database, console)

    with_database(settings, task)


def backup(
    folder: Annotated[Path, Parameter(help="Where to write it; must not be there yet.")],
    *,
    key_file: Annotated[Path | None, Parameter(help="Also write the master key, to this file of its own.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a backup of the whole database, while the server goes on. The master key is not in it."""
    from farthing.backup import report
    from farthing.backup.export import back_up

    settings = read_settings(data_dir=data_dir)
    manifest = back_up(settings, folder, errors, key_file)
    report.print_backup(console, settings, folder, manifest, key_file)


def restore(
    folder: Annotated[Path, Parameter(help="The backup.")],
    *,
    key_file: Annotated[Path | None, Parameter(help="File of the master key that belongs to the backup.")] = None,
    other_key: Annotated[bool, Parameter(help="Go on with another key than the backup's.", negative="")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fill an empty database, or a new data folder, from a backup: all of it, or nothing."""
    from farthing.backup import report
    from farthing.backup.load import restore as restore_backup

    settings = read_settings(data_dir=data_dir)
    restored = restore_backup(settings, folder, errors, key_file, other_key=other_key)
    report.print_restored(console, settings, restored)


def demo(
    *,
    data_dir: DataDir = None,
    seed: Annotated[int, Parameter(help="Another seed, other books.")] = 1,
    events: Annotated[int, Parameter(help="How many events of usage.", validator=Number(gte=0))] = 1_000_000,
) -> None:
    """Load the demo into the database without serving it; one that was begun is finished as it was begun."""
    from farthing.demo import load_demo

    settings = read_settings(data_dir=data_dir)

    async def task(database: Database) -> None:
        await load_demo(settings, database, console, seed=seed, events=events)

    with_database(settings, task)


def openapi() -> None:
    """Print our OpenAPI document."""
    import msgspec

    from farthing.app import encoded_document

    text: Any = msgspec.json.format(encoded_document(), indent=2)
    sys.stdout.write(text.decode() + "\n")


def sbom() -> None:
    """Print a software bill of materials of what is installed, in the CycloneDX format (JSON)."""
    from farthing.commands.sbom import SbomUnavailable, software_bill

    try:
        sys.stdout.write(software_bill() + "\n")
    except SbomUnavailable as error:
        errors.print(f"farthing: {error}")
        sys.exit(2)
