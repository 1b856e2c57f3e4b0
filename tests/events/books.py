"""An environment to fill with meters and events directly, without HTTP, for tests that need many."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from farthing.catalogue.products.tables import MeterRow
from farthing.events.ingest.arrivals import Appended, Arrival
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.store import append
from farthing.events.usage.event_store import EventStore
from farthing.metering.event import UsageEvent
from farthing.metering.meter import Meter
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope


class Books:
    """One fresh environment of one database, and a connection that appends to it."""

    def __init__(self, database: Database, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        self.database = database
        self.connection = connection
        self.scope = Scope(f"tenant_{uuid.uuid4().hex}", f"env_{uuid.uuid4().hex}")
        self.memory = MeterMemory()

    async def add_meters(self, meters: Iterable[Meter]) -> None:
        """Store meters as they are, ids included."""
        async with self.database.transaction(self.scope) as session:
            session.add_all(row_of(meter) for meter in meters)

    async def send(
        self,
        events: Sequence[UsageEvent],
        at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        *,
        have_fresh_ids: bool = False,
    ) -> Appended:
        """Append in one transaction."""
        arrivals = [Arrival(event, at, has_fresh_id=have_fresh_ids) for event in events]
        store = self.database.ports.part(EventStore)
        return await append(self.connection, self.scope, arrivals, self.memory, store.append_measured)


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Books]:
    connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(database.url, autocommit=True)
    async with connection:
        yield Books(database, connection)


def row_of(meter: Meter) -> MeterRow:
    """The catalogue's row of a meter."""
    aggregation = meter.aggregation
    return MeterRow(
        id=meter.id,
        name=meter.id,
        event_name=meter.event_name,
        aggregation_type=aggregation.type,
        field=aggregation.field,
        expression=aggregation.expression,
        multiplier=aggregation.multiplier,
        bucket_size=aggregation.bucket_size,
        group_by=aggregation.group_by,
        filters=[{"key": condition.key, "values": list(condition.values)} for condition in meter.filters],
        reset_usage=meter.reset_usage,
    )
