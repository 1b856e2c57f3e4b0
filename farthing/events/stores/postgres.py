"""PostgreSQL as a store of events: every callable of the port."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.ingest.sequence import watermark
from farthing.events.ingest.store import append_measured
from farthing.events.stores.postgres_changes import (
    find_changed,
    hold,
    keep_versions,
    lock_stored,
    nothing_to_finish,
    remove,
    replace,
    restore_versions,
)
from farthing.events.stores.postgres_reads import (
    count_beyond,
    count_earlier,
    count_events,
    count_in_windows,
    count_ingested,
    find_events,
    find_late,
    find_quantities,
    find_span,
    find_usage_span,
    read_usage,
    select_events,
    stream_events,
    stream_usage,
)
from farthing.events.stores.postgres_tallies import tally_events
from farthing.events.stores.postgres_upkeep import add_missing, await_appends, count_up_to, forget, totals, visit
from farthing.events.usage.event_store import EventChanges, EventReads, EventStore, EventUpkeep, UsageReads


async def _nothing_left(_: AsyncSession, __: datetime) -> int:
    """A transaction that did not commit has left nothing."""
    return 0


POSTGRES = EventStore(
    name="PostgreSQL",
    in_postgres=True,
    append_measured=append_measured,
    usage=UsageReads(
        read=read_usage,
        find_span=find_usage_span,
        stream=stream_usage,
        watermark=watermark,
        find_late=find_late,
        count_earlier=count_earlier,
        tally=tally_events,
    ),
    events=EventReads(
        select=select_events,
        count=count_events,
        count_ingested=count_ingested,
        count_beyond=count_beyond,
        count_in_windows=count_in_windows,
        span=find_span,
        find=find_events,
        quantities=find_quantities,
        stream=stream_events,
    ),
    changes=EventChanges(
        hold=hold,
        lock=lock_stored,
        keep=keep_versions,
        restore=restore_versions,
        remove=remove,
        find_changed=find_changed,
        replace=replace,
        finish=nothing_to_finish,
    ),
    upkeep=EventUpkeep(
        await_appends=await_appends,
        count_up_to=count_up_to,
        visit=visit,
        add=add_missing,
        totals=totals,
        forget=forget,
    ),
    erasure=None,
    finish_writes=_nothing_left,
)
"""The store that is used unless `FARTHING_EVENTS_URL` names another."""
