"""Rows of ClickHouse's tables, and a write as the rows it consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from farthing.core.money import EXACT, ZERO
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.contents import written
from farthing.events.ingest.measuring import Counted
from farthing.events.stores.clickhouse.moments import microseconds, milliseconds
from farthing.events.usage.event_store import EventRow
from farthing.metering.canonical import canonical_text
from farthing.metering.event import UsageEvent


class EventTableRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `events`, in the order of its columns."""

    environment_id: str
    event_name: str
    external_customer_id: str
    timestamp: int
    id: str
    customer_id: str
    source: str
    properties: str
    texts: dict[str, str]
    ingested_at: int
    sequence: int
    owner_sequence: int | None
    sent_by: int | None
    version: int
    is_deleted: int = 0


class UsageTableRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `meter_usage`, in the order of its columns."""

    environment_id: str
    meter_id: str
    external_customer_id: str
    timestamp: int
    id: str
    quantity: Decimal
    moment: Decimal
    key: str
    quantity_error: str | None
    sequence: int
    owner_sequence: int | None
    version: int
    is_deleted: int = 0


class IdTableRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `event_ids`, in the order of its columns."""

    environment_id: str
    id: str
    event_name: str
    external_customer_id: str
    timestamp: int
    version: int
    is_deleted: int = 0


class StoredVersion(msgspec.Struct, frozen=True):
    """An event as it is stored, with what decides whose it is and who sent it."""

    event: UsageEvent
    ingested_at: datetime
    sequence: int
    owner_sequence: int | None
    sent_by: int | None


class ErasedRows(msgspec.Struct, frozen=True):
    """All rows under these external ids that are older than a version: they are deleted, and not replaced."""

    external_ids: list[str]
    version: int


class EventWrite(msgspec.Struct):
    """What one transaction changes: rows for each table, and what is left in PostgreSQL when they are there.

    `customers` had new usage, the first at `arrived_at`; `withdrawn` says where events stood that stand there no more,
    by external id and time.
    """

    sequence: int
    events: list[EventTableRow] = []
    usage: list[UsageTableRow] = []
    ids: list[IdTableRow] = []
    arrived_at: datetime | None = None
    customers: list[str] = []
    withdrawn: list[tuple[str, datetime]] = []
    erased: ErasedRows | None = None

    def notice(self, at: datetime, customers: Iterable[str]) -> None:
        """Say whose usage changes; the earliest of several times counts."""
        self.arrived_at = at if self.arrived_at is None else min(self.arrived_at, at)
        self.customers = sorted({*self.customers, *customers})

    def add(
        self, environment: str, arrival: Arrival, sequence: int, owner_sequence: int | None, counted: Iterable[Counted]
    ) -> None:
        """Let an event be stored, and count so."""
        event = arrival.event
        at = milliseconds(event.timestamp)
        self.events.append(
            EventTableRow(
                environment,
                event.event_name,
                event.external_customer_id,
                at,
                event.id,
                event.customer_id,
                event.source,
                written(event.properties),
                text_of_properties(event.properties),
                microseconds(arrival.at),
                sequence,
                owner_sequence,
                arrival.sender.id,
                sequence,
            )
        )
        self.ids.append(IdTableRow(environment, event.id, event.event_name, event.external_customer_id, at, sequence))
        for _, meter_id, measured in counted:
            self.usage.append(
                usage_record(
                    environment, meter_id, event.external_customer_id, at, event.id, measured.quantity, measured.key,
                    measured.quantity_error, sequence, owner_sequence, sequence,
                )
            )  # fmt: skip

    def remove(self, environment: str, stored: UsageEvent, meter_ids: Iterable[str], version: int) -> None:
        """Let an event stand no more where it stood, nor count there for these meters.

        What the same write stores in its place, under the same sort key, must be added afterwards.
        """
        at = milliseconds(stored.timestamp)
        place = (stored.external_customer_id, at, stored.id)
        self.events.append(
            EventTableRow(environment, stored.event_name, *place, "", "", "", {}, 0, 0, None, None, version, 1)
        )
        self.ids.append(IdTableRow(environment, stored.id, stored.event_name, *place[:2], version, 1))
        self.usage += [
            UsageTableRow(environment, meter_id, *place, ZERO, ZERO, "", None, 0, None, version, 1)
            for meter_id in meter_ids
        ]

    def settled(self) -> EventWrite:
        """The same with one row for each sort key, the last: rows of one version replace each other in any order."""
        by_key = {(row.event_name, row.external_customer_id, row.timestamp, row.id): row for row in self.events}
        usage = {(row.meter_id, row.external_customer_id, row.timestamp, row.id): row for row in self.usage}
        ids = {row.id: row for row in self.ids}
        return msgspec.structs.replace(
            self, events=list(by_key.values()), usage=list(usage.values()), ids=list(ids.values())
        )


def usage_record(
    environment: str,
    meter_id: str,
    external_customer_id: str,
    at: int,
    event_id: str,
    quantity: Decimal,
    key: str,
    quantity_error: str | None,
    sequence: int,
    owner_sequence: int | None,
    version: int,
) -> UsageTableRow:
    """What an event counts for a meter; `at` is its millisecond."""
    moment = EXACT.multiply(quantity, Decimal(at))
    return UsageTableRow(
        environment, meter_id, external_customer_id, at, event_id, quantity, moment, key, quantity_error, sequence,
        owner_sequence, version,
    )  # fmt: skip


def text_of_properties(properties: Mapping[str, Any]) -> dict[str, str]:
    """The text by which each property is compared; those without one are left out."""
    texts = ((name, canonical_text(value)) for name, value in properties.items())
    return {name: text for name, text in texts if text is not None}


def row_of(stored: StoredVersion, environment: str) -> EventRow:
    """An event as reads answer it."""
    event = stored.event
    arrival = stored.sequence if stored.owner_sequence is None else stored.owner_sequence
    return EventRow(
        event.id,
        event.external_customer_id,
        event.customer_id,
        event.event_name,
        event.timestamp,
        event.source,
        written(event.properties),
        environment,
        stored.ingested_at,
        stored.sequence,
        arrival,
    )
