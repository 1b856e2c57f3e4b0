"""ClickHouse as a store of events: every callable of the port, with the ClickHouse that it asks."""

from __future__ import annotations

from functools import partial

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.ingest.sequence import watermark as watermark_of_snapshot
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.queries import late, reading, tallies, usage
from farthing.events.stores.clickhouse.writes import appending, correcting, erasing, pending, upkeep
from farthing.events.usage.event_store import (
    EventChanges,
    EventErasure,
    EventReads,
    EventStore,
    EventUpkeep,
    UsageReads,
)
from farthing.storage.postgres import scope_of

NAME = "ClickHouse"
_FIRST_OPEN = text("SELECT min(sequence) FROM pending_event_writes WHERE environment_id = :environment")


async def watermark(session: AsyncSession) -> int:
    """The highest sequence below every write that is not in ClickHouse yet.

    The snapshot's own comes first: what has been recorded since lies above it.
    """
    mark = await watermark_of_snapshot(session)
    first = await session.scalar(_FIRST_OPEN, {"environment": scope_of(session).environment_id})
    return mark if first is None else min(mark, first - 1)


def clickhouse_store(clickhouse: ClickHouse) -> EventStore:
    """The store that a ClickHouse is."""
    return EventStore(
        name=NAME,
        in_postgres=False,
        append_measured=partial(appending.append_measured, clickhouse),
        usage=UsageReads(
            read=partial(usage.read_usage, clickhouse),
            find_span=partial(usage.find_usage_span, clickhouse),
            stream=partial(usage.stream_usage, clickhouse),
            watermark=watermark,
            find_late=partial(late.find_late, clickhouse),
            count_earlier=partial(late.count_earlier, clickhouse),
            tally=partial(tallies.tally_events, clickhouse),
        ),
        events=EventReads(
            select=partial(reading.select_events, clickhouse),
            count=partial(reading.count_events, clickhouse),
            count_ingested=partial(reading.count_ingested, clickhouse),
            count_beyond=partial(reading.count_beyond, clickhouse),
            count_in_windows=partial(reading.count_in_windows, clickhouse),
            span=partial(reading.find_span, clickhouse),
            find=partial(reading.find_events, clickhouse),
            quantities=partial(reading.find_quantities, clickhouse),
            stream=partial(reading.stream_events, clickhouse),
        ),
        changes=EventChanges(
            hold=partial(correcting.hold, clickhouse),
            lock=partial(correcting.lock, clickhouse),
            keep=correcting.keep,
            restore=correcting.restore,
            remove=correcting.remove,
            find_changed=correcting.find_changed,
            replace=correcting.replace,
            finish=partial(correcting.finish, clickhouse),
        ),
        upkeep=EventUpkeep(
            await_appends=partial(upkeep.await_appends, clickhouse),
            count_up_to=partial(upkeep.count_up_to, clickhouse),
            visit=partial(upkeep.visit, clickhouse),
            add=partial(upkeep.add, clickhouse),
            totals=partial(upkeep.totals, clickhouse),
            forget=partial(upkeep.forget, clickhouse),
        ),
        erasure=EventErasure(rewrite=partial(erasing.rewrite, clickhouse), finish=partial(erasing.finish, clickhouse)),
        finish_writes=partial(pending.finish_writes, clickhouse),
    )
