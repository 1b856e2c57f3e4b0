"""Restoring a backup into an empty database: checked first, then filled in one transaction, then upgraded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import create_engine

import farthing
from farthing.backup import BackupFailed, schema
from farthing.backup.connect import connected
from farthing.backup.files import checksum_of, decompressed
from farthing.backup.manifest import Manifest, SequenceValue, TableCopy, read_manifest
from farthing.backup.master_key import key_path, read_key, write_key
from farthing.backup.schema import Connection, TableShape
from farthing.identity.credentials.master_key import fingerprint
from farthing.serving.engine import engine
from farthing.settings import Settings
from farthing.storage import migrations
from farthing.storage.postgres import Database, dialect_url
from farthing.wiring import wire


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to."""

    manifest: Manifest
    revision: str
    """The schema's revision after the upgrade to this release."""


def restore(
    settings: Settings, folder: Path, console: Console, key_file: Path | None = None, *, other_key: bool = False
) -> Restored:
    """Fill the configured database, which must be empty, from the backup in `folder`. Raises BackupFailed.

    `key_file`: the master key, which the embedded mode keeps from now on. `other_key`: go on although the key is not
    the one that belongs to the rows.
    """
    manifest = read_manifest(folder)
    if not migrations.is_known(manifest.revision):
        raise BackupFailed(
            f"the backup was made by Farthing {manifest.farthing_version} with the schema {manifest.revision}, which "
            f"this release ({farthing.__version__}) does not know; restore it with that release or a later one"
        )
    master = _key_for_restore(settings, key_file)
    if fingerprint(master) != manifest.key_fingerprint and not other_key:
        raise BackupFailed(
            "the master key given is not the one this backup was made with: API keys, sign-ins and stored credentials "
            "would be void. Give the right one; if it is lost, --other-key restores all the same"
        )
    _verify(folder, manifest, console)
    if settings.embedded and settings.secret_key is None and not key_path(settings).exists():
        write_key(key_path(settings), master)  # before the engine, which would make another
    with engine(settings) as target:
        url = target.url
        asyncio.run(_require_confined(url))
        try:
            _load(url, folder, manifest, console)
            migrations.upgrade(url)
            with connected(url) as connection:
                connection.execute("ANALYZE")
        except psycopg.Error as error:
            raise BackupFailed(f"the database refused the backup: {str(error).strip()}") from error
        revision, _ = migrations.state(url)
    return Restored(manifest, revision or "")


def _key_for_restore(settings: Settings, key_file: Path | None) -> str:
    """The key that will be used with the restored database. Raises BackupFailed."""
    kept = key_path(settings)
    if key_file is None:
        if settings.secret_key is None and not kept.exists():
            raise BackupFailed(
                "a restore needs the master key that belongs to the backup: give its file with --key-file, "
                "or set FARTHING_SECRET_KEY"
            )
        return settings.master_key()
    if settings.secret_key is not None:
        raise BackupFailed("give the master key by --key-file or by FARTHING_SECRET_KEY, not by both")
    master = read_key(key_file)
    if kept.exists() and settings.master_key() != master:
        raise BackupFailed(f"{kept} is there already, with another key than {key_file}; restore into a new folder")
    return master


def _verify(folder: Path, manifest: Manifest, console: Console) -> None:
    """Compare every file with its checksum. Raises BackupFailed."""
    with _progress(console) as progress:
        task = progress.add_task("verify", total=len(manifest.tables))
        for table in manifest.tables:
            path = folder / table.file
            try:
                found = checksum_of(path)
            except OSError as error:
                raise BackupFailed(f"the backup is not whole: {error}") from None
            if found != table.sha256:
                raise BackupFailed(f"the backup is damaged: {path} is not what was written")
            progress.advance(task)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


async def _require_confined(url: str) -> None:
    """The tables will belong to this role, so that it must be one that row-level security confines."""
    database = Database(url, wire(), pool_size=2)
    try:
        await database.check()
    except Exception as error:
        if isinstance(error.__cause__ or error, psycopg.OperationalError):
            raise BackupFailed(f"the database cannot be reached: {error.__cause__ or error}") from None
        raise
    finally:
        await database.close()


def _load(url: str, folder: Path, manifest: Manifest, console: Console) -> None:
    """Make the tables of the backup's revision and fill them, in one transaction."""
    pool = create_engine(dialect_url(url))
    try:
        with pool.connect() as connection, connection.begin():
            migrations.exclude_other_migrations(connection)
            raw: Connection = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's own
            if strangers := schema.relations(raw):
                raise BackupFailed(
                    f"the database is not empty: it holds {', '.join(strangers[:3])} and more; "
                    "restore into an empty one, or into a new --data-dir"
                )
            migrations.upgrade_within(connection, manifest.revision)
            schema.read_plainly(raw)
            shapes = schema.tables(raw)
            _require_same_tables(shapes, manifest)
            with _suspended_checks(raw, shapes), _progress(console) as progress:
                task = progress.add_task("restore", total=len(manifest.tables))
                for table in manifest.tables:
                    progress.update(task, description=table.name)
                    _load_table(raw, folder, table)
                    progress.advance(task)
                progress.update(task, description="foreign keys")
            for sequence in manifest.sequences:
                _set_sequence(raw, sequence)
    finally:
        pool.dispose()


def _require_same_tables(shapes: list[TableShape], manifest: Manifest) -> None:
    here = {shape.name: set(shape.columns) for shape in shapes}
    there = {table.name: set(table.columns) for table in manifest.tables}
    if here != there:
        differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        raise BackupFailed(
            f"the schema {manifest.revision} of this release differs from the backup's in: {', '.join(differing)}; "
            f"restore with Farthing {manifest.farthing_version}"
        )


@contextmanager
def _suspended_checks(connection: Connection, shapes: list[TableShape]) -> Iterator[None]:
    """Empty tables that take rows as they are, in any order; foreign keys are proved again at the end.

    Triggers do not fire: what they derive is in the backup too. COPY needs that row-level security does not hold for
    the tables' owner, which nobody else can notice before the transaction ends.
    """
    keys = schema.foreign_keys(connection)
    for key in keys:
        _alter(connection, key.table, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(key.name)))
    # migrations may have put rows into new tables
    names = sql.SQL(", ").join(sql.Identifier(shape.name) for shape in shapes)
    connection.execute(sql.SQL("TRUNCATE {}").format(names))
    for shape in shapes:
        _alter(connection, shape.name, sql.SQL("DISABLE TRIGGER USER"))
        if shape.forced:
            _alter(connection, shape.name, sql.SQL("NO FORCE ROW LEVEL SECURITY"))
    yield
    for key in keys:
        # the definition is the database's own text
        definition = sql.SQL(key.definition)
        _alter(connection, key.table, sql.SQL("ADD CONSTRAINT {} {}").format(sql.Identifier(key.name), definition))
    for shape in shapes:
        _alter(connection, shape.name, sql.SQL("ENABLE TRIGGER USER"))
        if shape.forced:
            _alter(connection, shape.name, sql.SQL("FORCE ROW LEVEL SECURITY"))


def _alter(connection: Connection, table: str, change: sql.Composable) -> None:
    connection.execute(sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), change))


def _load_table(connection: Connection, folder: Path, table: TableCopy) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns))
    )
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for piece in decompressed(folder / table.file):
                copy.write(piece)
        if cursor.rowcount != table.rows:
            raise BackupFailed(
                f"the backup is damaged: {table.name} has {cursor.rowcount} rows, and the manifest says {table.rows}"
            )


def _set_sequence(connection: Connection, sequence: SequenceValue) -> None:
    if sequence.last_value is not None:
        arguments: list[Any] = [sequence.name, sequence.last_value]
        connection.execute("SELECT setval(format('%%I', %s::text)::regclass, %s)", arguments)
