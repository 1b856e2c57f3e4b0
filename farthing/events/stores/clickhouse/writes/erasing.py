"""Erasing a person from events in ClickHouse: every version that named it goes, and what it counted stays.

An external id is part of the sort key, so an event under another name is another row. All new rows are recorded in
PostgreSQL with the erasure itself; when they are there, the rows before them are deleted for good, by mutations that
are waited for. Repeating any of it changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import ServiceUnavailable
from farthing.events.ingest.contents import read, written
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.records import (
    ErasedRows,
    EventTableRow,
    EventWrite,
    IdTableRow,
    UsageTableRow,
    text_of_properties,
)
from farthing.events.stores.clickhouse.schema import BY_NAME, EVENTS, IDS, USAGE
from farthing.events.stores.clickhouse.writes.appending import first_sequence_of
from farthing.events.stores.clickhouse.writes.pending import lock_until_end, record
from farthing.events.usage.event_store import EventRewriting
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import scope_of

ROWS_AT_ONCE = 10_000
_OWN = "environment_id = %(environment)s AND external_customer_id IN %(customers)s"


async def rewrite(clickhouse: ClickHouse, session: AsyncSession, rewriting: EventRewriting) -> int:
    """Record what is to be written, in parts; nobody else writes here until the transaction ends."""
    environment = scope_of(session).environment_id
    connection = await lock_until_end(session, clickhouse)
    own = {"environment": environment, "customers": sorted(rewriting.external_ids)}
    sequence = await first_sequence_of(connection)
    # the transaction may be older than what others have stored since it began
    version = max(sequence, await _highest_version(clickhouse, own) + 1)
    count = 0
    async for rows in _rows(clickhouse, EVENTS, own):
        before = [EventTableRow(*row) for row in rows]
        after = [_erased_event(row, rewriting, version) for row in before]
        count += sum(_says_less(former, now) for former, now in zip(before, after, strict=True))
        await record(connection, environment, EventWrite(sequence, events=after))
        sequence += 1
    async for rows in _rows(clickhouse, USAGE, own):
        usage = [_erased_usage(UsageTableRow(*row), rewriting, version) for row in rows]
        await record(connection, environment, EventWrite(sequence, usage=usage))
        sequence += 1
    async for ids in _erased_ids(clickhouse, own, rewriting, version):
        await record(connection, environment, EventWrite(sequence, ids=ids))
        sequence += 1
    gone = ErasedRows(sorted(rewriting.external_ids), version)
    await record(connection, environment, EventWrite(sequence, erased=gone))
    return count


async def finish(clickhouse: ClickHouse, session: AsyncSession) -> None:
    """Commit the erasure, then carry it out. Raises ServiceUnavailable where that has to wait."""
    await session.flush()
    await commit_midway(session)  # what is recorded is finished by whoever writes next
    try:
        await lock_until_end(session, clickhouse)
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            "The erasure is recorded, and reaches the events as soon as the event store can be reached"
        ) from error


async def _highest_version(clickhouse: ClickHouse, own: dict[str, Any]) -> int:
    highest = 0
    for table in BY_NAME:
        rows = await clickhouse.rows(f"SELECT max(version) FROM {clickhouse.database}.{table} WHERE {_OWN}", own)
        highest = max(highest, int(rows[0][0]))
    return highest


async def _rows(clickhouse: ClickHouse, table: str, own: dict[str, Any]) -> AsyncIterator[Sequence[Any]]:
    """The rows that stand under these external ids, in portions that begin after the last row of the one before."""
    columns, order = BY_NAME[table].column_names, BY_NAME[table].order.removeprefix("environment_id, ")
    places = [columns.index(name) for name in order.split(", ")]
    after: dict[str, Any] = {}
    while True:
        beyond = f" AND ({order}) > ({', '.join(f'%({name})s' for name in after)})" if after else ""
        rows = await clickhouse.rows(
            f"SELECT {', '.join(columns)} FROM {clickhouse.database}.{table} FINAL WHERE {_OWN}{beyond} "
            f"ORDER BY {order} LIMIT {ROWS_AT_ONCE}",
            {**own, **after},
        )
        if rows:
            yield rows
        if len(rows) < ROWS_AT_ONCE:
            return
        after = {f"after_{place}": rows[-1][place] for place in places}


async def _erased_ids(
    clickhouse: ClickHouse, own: dict[str, Any], rewriting: EventRewriting, version: int
) -> AsyncIterator[list[IdTableRow]]:
    """What the ids that stood under these external ids are to be: one that stands there no more must not come back
    to where it stood before, when the row that says so is deleted."""
    columns, reached = BY_NAME[IDS].column_names, ""
    while True:
        found = await clickhouse.rows(
            f"SELECT DISTINCT id FROM {clickhouse.database}.{IDS} WHERE {_OWN} AND id > %(reached)s "
            f"ORDER BY id LIMIT {ROWS_AT_ONCE}",
            {**own, "reached": reached},
        )
        if not found:
            return
        ids = [event_id for (event_id,) in found]
        rows = await clickhouse.rows(
            f"SELECT {', '.join(columns)} FROM {clickhouse.database}.{IDS} FINAL "
            "WHERE environment_id = %(environment)s AND id IN %(ids)s",
            {"environment": own["environment"], "ids": ids},
        )
        stored = {row.id: row for row in (IdTableRow(*row) for row in rows)}
        nowhere = IdTableRow(own["environment"], "", "", "", 0, version, 1)
        yield [
            msgspec.structs.replace(
                row, external_customer_id=rewriting.name_of(row.external_customer_id), version=version
            )
            if (row := stored.get(event_id)) is not None
            else msgspec.structs.replace(nowhere, id=event_id)
            for event_id in ids
        ]
        reached = ids[-1]


def _erased_event(row: EventTableRow, rewriting: EventRewriting, version: int) -> EventTableRow:
    properties = read(row.properties)
    erased = rewriting.document(properties)
    changed: dict[str, Any] = {}
    if erased != properties:
        changed = {"properties": written(erased), "texts": text_of_properties(erased)}
    return msgspec.structs.replace(
        row,
        external_customer_id=rewriting.name_of(row.external_customer_id),
        customer_id=rewriting.text(row.customer_id),
        source=rewriting.text(row.source),
        version=version,
        **changed,
    )


def _says_less(former: EventTableRow, now: EventTableRow) -> bool:
    """Whether an event named the person, otherwise than by the external id."""
    return (former.customer_id, former.source, former.properties) != (now.customer_id, now.source, now.properties)


def _erased_usage(row: UsageTableRow, rewriting: EventRewriting, version: int) -> UsageTableRow:
    return msgspec.structs.replace(
        row,
        external_customer_id=rewriting.name_of(row.external_customer_id),
        key=rewriting.text(row.key),
        version=version,
    )
