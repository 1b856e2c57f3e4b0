"""What an operator reads after a backup or a restore."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from farthing.backup.load import Restored
from farthing.backup.manifest import Manifest
from farthing.backup.master_key import key_path
from farthing.settings import Settings


def print_backup(
    console: Console, settings: Settings, folder: Path, manifest: Manifest, key_file: Path | None = None
) -> None:
    """Say what was written, and that the key was not."""
    tables = sum(table.rows > 0 for table in manifest.tables)
    console.print(f"backup          {folder}: {manifest.rows:,} rows of {tables} tables, schema {manifest.revision}")
    console.print(f"as of           {manifest.taken_at.isoformat(timespec='seconds')}")
    console.print(
        "[bold yellow]The master key is NOT in the backup.[/bold yellow] Without it every API key, sign-in and stored "
        "credential is void after a restore.",
        markup=True,
    )
    if key_file is not None:
        where = f"It is in {key_file}. Move that file"
    elif settings.secret_key is not None:
        where = "Keep a copy of FARTHING_SECRET_KEY"
    else:
        where = f"Keep a copy of {key_path(settings)}"
    console.print(f"{where} to another place than the backup, where who reads the one cannot read the other.")


def print_restored(console: Console, settings: Settings, restored: Restored) -> None:
    """Say what was restored and what to do next."""
    manifest = restored.manifest
    where = f"data folder {settings.data_dir}" if settings.embedded else "database of FARTHING_DATABASE_URL"
    console.print(f"restored        {manifest.rows:,} rows into the {where}")
    console.print(f"as of           {manifest.taken_at.isoformat(timespec='seconds')}")
    console.print(f"schema          {manifest.revision} -> {restored.revision}")
    command = f"farthing doctor --data-dir {settings.data_dir}" if settings.embedded else "farthing doctor"
    console.print(f"Now run [bold]{command}[/bold] before you let anybody in.", markup=True)
    console.print("Let only one copy of these books run: two would both bill and collect.")
