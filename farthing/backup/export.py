"""Taking a backup: one snapshot of every table, written beside the name that was asked for and renamed when whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import farthing
from farthing.backup import BackupFailed, schema
from farthing.backup.connect import source
from farthing.backup.files import CompressedFile, sync_folder
from farthing.backup.manifest import FORMAT, Manifest, TableCopy, write_manifest
from farthing.backup.master_key import (
    configured_key,
    enter_scope,
    require_key_of_rows,
    require_room_for_key,
    write_key,
)
from farthing.backup.schema import Connection, TableShape, Visibility
from farthing.core.clock import SystemClock
from farthing.identity.credentials.master_key import fingerprint
from farthing.settings import Settings

_LOCK_WAIT = "30s"
_NOTHING_TO_ENTER = ("",)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one transaction sees of a database, and how it has to look to see all of it."""

    connection: Connection
    taken_at: datetime
    revision: str
    shapes: list[TableShape]
    sees_all: bool
    """Whether row-level security hides nothing from the role."""
    environment_ids: Sequence[str]
    """Those to enter one after the other for the rows of environments; any one shows all to a role that sees all."""


def back_up(settings: Settings, folder: Path, console: Console, key_file: Path | None = None) -> Manifest:
    """Write a backup of the configured database to `folder`, which must not be there. Raises BackupFailed.

    `key_file`: where to write the master key to; it is nowhere else.
    """
    if folder.exists():
        raise BackupFailed(f"{folder} exists already; a backup is never written over another")
    if key_file is not None:
        require_room_for_key(key_file, folder)
    master = configured_key(settings)
    draft = folder.parent / f".{folder.name}.unfinished-{os.getpid()}"
    with source(settings) as connection:
        snapshot = _open_snapshot(connection)
        shapes = {shape.name: shape for shape in snapshot.shapes}
        require_key_of_rows(connection, shapes, list(snapshot.environment_ids), master)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            (draft / "tables").mkdir(mode=0o700, parents=True)
            draft.chmod(0o700)
            manifest = _write(snapshot, draft, console, fingerprint(master))
            draft.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            raise BackupFailed(f"the backup cannot be written: {error}") from error
        except psycopg.Error as error:
            raise BackupFailed(f"the database could not be read to its end: {str(error).strip()}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if key_file is not None:
        write_key(key_file, master)
    return manifest


def _open_snapshot(connection: Connection) -> Snapshot:
    """Begin the transaction that everything is read in."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # before the first query: whatever is committed until now is seen by it
    taken_at = SystemClock().now().astimezone(UTC)
    try:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_WAIT])
        schema.read_plainly(connection)
        current = schema.revision(connection)
        if current is None:
            raise BackupFailed("this database holds no Farthing; is it the right one?")
        shapes = schema.tables(connection)
        # reading them is all that is promised: this only keeps a migration from changing them on the way
        names = sql.SQL(", ").join(sql.Identifier(shape.name) for shape in shapes)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        sees_all = _sees_all(connection)
        environment_ids = _NOTHING_TO_ENTER if sees_all else _environments(connection, shapes)
    except psycopg.Error as error:
        raise BackupFailed(f"the database cannot be read: {str(error).strip()}") from error
    return Snapshot(connection, taken_at, current, shapes, sees_all, environment_ids)


def _sees_all(connection: Connection) -> bool:
    """Whether row-level security hides nothing from this role."""
    query = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    return connection.execute(query).fetchone() == (True,)


def _environments(connection: Connection, shapes: Sequence[TableShape]) -> list[str]:
    """Every environment that any row may belong to, deleted ones and none at all among them.

    What belongs to a tenant and no environment of it may have the tenant's id there.
    """
    enter_scope(connection, "")
    found = {""}
    for shape in shapes:
        if shape.visibility is Visibility.ENVIRONMENT:
            continue
        named = {"environment_id", "tenant_id"} | ({"id"} if shape.name in {"environments", "tenants"} else set())
        for column in sorted(named.intersection(shape.columns)):
            query = sql.SQL("SELECT DISTINCT {} FROM {}").format(sql.Identifier(column), sql.Identifier(shape.name))
            found.update(value for (value,) in connection.execute(query) if value is not None)
    return sorted(found)


def _write(snapshot: Snapshot, draft: Path, console: Console, key_fingerprint: str) -> Manifest:
    copies: list[TableCopy] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("backup", total=len(snapshot.shapes), rows=0)
        for shape in snapshot.shapes:
            progress.update(task, description=shape.name)
            copies.append(_write_table(snapshot, shape, draft))
            progress.update(task, advance=1, rows=sum(copy.rows for copy in copies))
    manifest = Manifest(
        format=FORMAT,
        farthing_version=farthing.__version__,
        taken_at=snapshot.taken_at,
        revision=snapshot.revision,
        postgresql=str(snapshot.connection.info.parameter_status("server_version")),
        key_fingerprint=key_fingerprint,
        tables=copies,
        # sequences belong to no snapshot; read last, they stand behind every value in the rows
        sequences=schema.sequences(snapshot.connection),
    )
    write_manifest(draft, manifest)
    sync_folder(draft / "tables")
    sync_folder(draft)
    return manifest


def _write_table(snapshot: Snapshot, shape: TableShape, draft: Path) -> TableCopy:
    rows_of_scope = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, shape.columns)), sql.Identifier(shape.name)
    )
    walked: Sequence[str] = _NOTHING_TO_ENTER
    if shape.visibility is Visibility.ENVIRONMENT and not snapshot.sees_all:
        walked = snapshot.environment_ids
        # several environments may see one row, which is its own environment's alone
        rows_of_scope += sql.SQL(" WHERE environment_id = current_setting('farthing.environment_id', true)")
    statement = sql.SQL("COPY ({}) TO STDOUT").format(rows_of_scope)
    rows = 0
    with CompressedFile(draft / f"tables/{shape.name}.copy.gz") as file, snapshot.connection.cursor() as cursor:
        for environment_id in walked:
            enter_scope(snapshot.connection, environment_id)
            with cursor.copy(statement) as copy:
                for row in copy:
                    file.write(row)
            rows += cursor.rowcount
    return TableCopy(name=shape.name, columns=shape.columns, rows=rows, sha256=file.sha256)
