"""Files that were uploaded or fetched, kept in the database, so that every worker reads what any process received.

Rule: docs/rules/imports-and-exports.md#uploads
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotFound, TooManyRequests, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import Database, real_clock_of, scope_of
from farthing.storage.queries.rows import lock_row
from farthing.storage.scope import Scope
from farthing.transfer.tables import StoredFile, StoredFilePiece, Task

LARGEST_FILE_BYTES = 2**30
UPLOAD_KEPT = timedelta(hours=24)
IN_USE_KEPT = timedelta(days=7)
"""How long the file of an import stays, which may be tried again."""
PIECE_BYTES = 1024 * 1024
MOST_STORED_BYTES = 10 * 2**30
"""What an environment may keep before it may upload more."""
RETRY_AFTER_SECONDS = 3600
LONGEST_NAME = 255
FORGOTTEN_AT_ONCE = 100


async def receive_file(
    database: Database, scope: Scope, name: str, arriving: AsyncIterator[bytes], now: datetime
) -> tuple[str, int]:
    """Store a file as it arrives; its id and size. Nothing stays of one that breaks off or is too large.

    Every piece is a transaction of its own: a sender that is slow keeps no connection. `now` is real time.
    Raises ValidationFailed, and TooManyRequests where an environment keeps too much already.
    """
    file_id = new_id(Kind.UPLOAD)
    async with database.transaction(scope) as session:
        session.add(StoredFile(id=file_id, name=name[:LONGEST_NAME], created_at=now, expires_at=now + UPLOAD_KEPT))
        await _require_room(session)
    try:
        size = await _store_pieces(database, scope, file_id, arriving)
        async with database.transaction(scope) as session:
            (await lock_row(session, StoredFile, file_id)).is_whole = True
    except BaseException:
        await asyncio.shield(_discard(database, scope, file_id))
        raise
    return file_id, size


async def _require_room(session: AsyncSession) -> None:
    """Raises TooManyRequests where the environment keeps too much, what is still arriving included.

    Files that arrive at once do not see each other's last piece, so that they may exceed the limit by one piece each. A
    file counts as a piece at least: many small ones cost as much as a large one.
    """
    await session.flush()
    kept = await session.scalar(
        select(func.sum(func.greatest(StoredFile.size, PIECE_BYTES))).where(
            StoredFile.environment_id == scope_of(session).environment_id
        )
    )
    if (kept or 0) > MOST_STORED_BYTES:
        raise TooManyRequests("Too many files wait to be imported; they expire after a day", RETRY_AFTER_SECONDS)


async def _store_pieces(database: Database, scope: Scope, file_id: str, arriving: AsyncIterator[bytes]) -> int:
    size, position = 0, 0
    gathered = bytearray()
    async for content in arriving:
        gathered += content
        size += len(content)
        if size > LARGEST_FILE_BYTES:
            raise ValidationFailed.of("body", f"must be at most {LARGEST_FILE_BYTES} bytes")
        while len(gathered) >= PIECE_BYTES:
            await _store_piece(database, scope, file_id, position, bytes(gathered[:PIECE_BYTES]))
            del gathered[:PIECE_BYTES]
            position += 1
    if gathered:
        await _store_piece(database, scope, file_id, position, bytes(gathered))
    if not size:
        raise ValidationFailed.of("body", "is required: the file")
    return size


async def _store_piece(database: Database, scope: Scope, file_id: str, position: int, content: bytes) -> None:
    async with database.transaction(scope) as session:
        row = StoredFilePiece(environment_id=scope.environment_id, file_id=file_id, position=position, content=content)
        session.add(row)
        arrived = update(StoredFile).where(StoredFile.id == file_id).values(size=StoredFile.size + len(content))
        await session.execute(arrived)
        await _require_room(session)


async def _discard(database: Database, scope: Scope, file_id: str) -> None:
    async with database.transaction(scope) as session:
        await forget_file(session, file_id)


async def forget_file(session: AsyncSession, file_id: str) -> None:
    """Delete a file and its pieces."""
    await session.execute(delete(StoredFilePiece).where(StoredFilePiece.file_id == file_id))
    await session.execute(delete(StoredFile).where(StoredFile.id == file_id))


async def use_upload(session: AsyncSession, file_id: str, task_id: str) -> StoredFile:
    """Give an upload to the import that uses it. Raises ValidationFailed for one that is unknown, used or expired."""
    try:
        row = await lock_row(session, StoredFile, file_id)
    except NotFound as error:
        raise ValidationFailed.of("upload_id", "names no upload") from error
    now = real_clock_of(session).now()
    if not row.is_whole or (row.task_id is None and row.expires_at <= now):
        raise ValidationFailed.of("upload_id", "names an upload that broke off or expired; upload the file again")
    if row.task_id is not None and not await _was_only_tried(session, row.task_id):
        raise ValidationFailed.of("upload_id", f"was used by the import {row.task_id}; upload the file again")
    row.task_id, row.expires_at = task_id, now + IN_USE_KEPT
    return row


async def _was_only_tried(session: AsyncSession, task_id: str) -> bool:
    """Whether a task was a dry run, and is over."""
    task = await session.get(Task, task_id)
    return task is not None and task.dry_run and not task.is_queued


async def write_to(database: Database, scope: Scope, file_id: str, path: Path) -> None:
    """Write a stored file to disk. Raises NotFound for one that is gone."""
    with path.open("wb") as target:
        position = 0
        while True:
            async with database.transaction(scope, read_only=True) as session:
                content = await session.scalar(
                    select(StoredFilePiece.content).where(
                        StoredFilePiece.file_id == file_id, StoredFilePiece.position == position
                    )
                )
            if content is None:
                break
            await asyncio.to_thread(target.write, content)
            position += 1
    if not position:
        raise NotFound("The file of this import is not kept any more; upload it again", {"upload_id": file_id})


async def forget_imported_files(session: AsyncSession) -> int:
    """Delete the files of imports that no worker is to run; how many. One of them is tried again with a new file."""
    query = (
        select(StoredFile.id)
        .join(Task, Task.id == StoredFile.task_id)
        .where(StoredFile.environment_id == scope_of(session).environment_id, Task.is_queued.is_(False))
        .with_for_update()
    )
    ids = (await session.scalars(query)).all()
    for file_id in ids:
        await forget_file(session, file_id)
    return len(ids)


async def forget_expired(session: AsyncSession, _now: datetime) -> int:
    """Delete files that expired, in real time; how many there were. A batch."""
    query = (
        select(StoredFile.id)
        .where(
            StoredFile.environment_id == scope_of(session).environment_id,
            StoredFile.expires_at <= real_clock_of(session).now(),
        )
        .order_by(StoredFile.expires_at)
        .limit(FORGOTTEN_AT_ONCE)
    )
    ids = (await session.scalars(query)).all()
    for file_id in ids:
        await forget_file(session, file_id)
    return len(ids)
