"""Events with their time in the window, oldest first: a row for each meter that counts one, and item that charges it.

An event that nothing counts has one row, without a meter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.enums import Status
from farthing.events.charged_items import ChargedItem
from farthing.events.ports import EventPorts
from farthing.events.usage.event_store import EventSelection, store_of
from farthing.events.usage.ownership import OwnedEvents, holders_of
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import RatedPrice
from farthing.storage.postgres import ports_of, scope_of
from farthing.transfer.exports.selections.selection import (
    ROWS_AT_ONCE,
    Column,
    ExportRequest,
    ExportSelection,
    Rows,
    texts,
)

MOST_REMEMBERED = 20_000
"""Customers whose items are kept in memory."""

_COLUMNS = [
    *texts("id", "tenant_id", "environment_id", "external_customer_id", "customer_id", "subscription_id"),
    *texts("sub_line_item_id", "price_id", "meter_id", "feature_id", "event_name", "source"),
    *(Column(name, ColumnKind.MOMENT) for name in ("timestamp", "ingested_at")),
    Column("period_id"),
    *(Column(name, ColumnKind.DECIMAL) for name in ("qty_total", "provisional_usage_charges")),
    *texts("properties", "unique_hash"),
]
# each event finds what it counts through the index that is made for it, whatever the planner believes of tables that
# were just filled (OFFSET 0 keeps its hands off): else it reads all usage of a meter for each event
_QUERY = text(
    """
    SELECT e.id, e.external_customer_id, e.event_name, e.source, e.timestamp, e.ingested_at,
        e.properties::text AS properties, coalesce(e.owner_sequence, e.sequence) AS arrival,
        counted.meter_id, counted.quantity, counted.key
    FROM events AS e
    LEFT JOIN LATERAL (
        SELECT meter_usage.*
        FROM jsonb_array_elements_text(cast(:meters AS jsonb) -> e.event_name) AS meter (id)
        CROSS JOIN LATERAL (
            SELECT u.meter_id, u.quantity, u.key
            FROM meter_usage AS u
            WHERE u.environment_id = :environment AND u.meter_id = meter.id
                AND u.external_customer_id = e.external_customer_id AND u.timestamp = e.timestamp
                AND u.sequence = e.sequence
            OFFSET 0
        ) AS meter_usage
    ) AS counted ON true
    WHERE e.environment_id = :environment AND e.timestamp >= :since AND e.timestamp < :until
    ORDER BY e.timestamp, e.id, counted.meter_id
    """
)


@dataclass(frozen=True, slots=True)
class _Owner:
    """A customer, which events under an external id are its own, and what charges them."""

    customer_id: str
    owned: frozenset[OwnedEvents]
    items: Sequence[tuple[ChargedItem, RatedPrice]]


def select_events(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-events"""
    return ExportSelection(_COLUMNS, _portions(session, request.window))


async def _portions(session: AsyncSession, window: Period) -> AsyncIterator[Rows]:
    scope = scope_of(session)
    features = await _features(session)
    owners = _Owners(session, window)
    counted = _counted_here if store_of(session).in_postgres else _counted_elsewhere
    async for portion in counted(session, window):
        await owners.learn({row.external_customer_id for row in portion})
        yield [
            [
                row.id,
                scope.tenant_id,
                scope.environment_id,
                row.external_customer_id,
                *attribution,
                row.meter_id or "",
                features.get(row.meter_id, ""),
                row.event_name,
                row.source,
                row.timestamp,
                row.ingested_at,
                "",
                row.quantity,
                charges,
                row.properties,
                row.key or "",
            ]
            for row in portion
            for attribution, charges in owners.attributed(row)
        ]


async def _counted_here(session: AsyncSession, window: Period) -> AsyncIterator[Sequence[Any]]:
    """Events with what they count, from one statement."""
    given = {
        "environment": scope_of(session).environment_id,
        "since": window.start,
        "until": window.end,
        "meters": msgspec.json.encode(await _meters(session)).decode(),
    }
    result = await session.stream(_QUERY.execution_options(yield_per=ROWS_AT_ONCE), given)
    async for portion in result.partitions(ROWS_AT_ONCE):
        yield portion


class _ExportedEvent(NamedTuple):
    """A row of `_QUERY`."""

    id: str
    external_customer_id: str
    event_name: str
    source: str
    timestamp: datetime
    ingested_at: datetime
    properties: str
    arrival: int
    meter_id: str | None
    quantity: Decimal | None
    key: str | None


async def _counted_elsewhere(session: AsyncSession, window: Period) -> AsyncIterator[Sequence[Any]]:
    """The same where events are no tables of the database."""
    events = store_of(session).events
    meters = (await session.scalars(select(MeterRow.id))).all()
    selection = EventSelection(start=window.start, end=window.end)
    async for rows in events.stream(session, selection, None, None):
        counted: dict[str, list[tuple[str | None, Decimal | None, str | None]]] = {}
        for event_id, meter_id, quantity, key in await events.quantities(session, rows, meters):
            counted.setdefault(event_id, []).append((meter_id, quantity, key))
        yield [
            _ExportedEvent(
                row.id, row.external_customer_id, row.event_name, row.source, row.timestamp, row.ingested_at,
                row.properties, row.arrival, *part,
            )
            for row in rows
            for part in sorted(counted.get(row.id, [(None, None, None)]))
        ]  # fmt: skip


class _Owners:
    """Whose events are, and what charges them, for as many customers as fit into memory."""

    def __init__(self, session: AsyncSession, window: Period) -> None:
        self._session = session
        self._window = window
        self._known: dict[str, list[_Owner]] = {}

    async def learn(self, external_ids: set[str]) -> None:
        """Look up those that are not known."""
        new = external_ids - self._known.keys()
        if len(self._known) + len(new) > MOST_REMEMBERED:
            self._known.clear()
            new = external_ids
        if not new:
            return
        holders = await holders_of(self._session, new)
        items = await self._items_of(list(holders))
        self._known.update((external_id, []) for external_id in new)
        for customer_id, owned in holders.items():
            owner = _Owner(customer_id, owned, items.get(customer_id, ()))
            for external_id in {part.external_id for part in owned}:
                self._known[external_id].append(owner)

    async def _items_of(self, customer_ids: Sequence[str]) -> Mapping[str, list[tuple[ChargedItem, RatedPrice]]]:
        list_charged_items = ports_of(self._session, EventPorts).list_charged_items
        found = await list_charged_items(self._session, customer_ids, self._window.start, self._window.end, True)
        by_customer: defaultdict[str, list[tuple[ChargedItem, RatedPrice]]] = defaultdict(list)
        for item in found:
            charging = item, rated(item.price)
            for customer_id in item.customers:
                by_customer[customer_id].append(charging)
        self._session.expunge_all()
        return by_customer

    def attributed(self, row: Any) -> Iterator[tuple[tuple[str, str, str, str], Decimal | None]]:
        """The customer, subscription, line item and price of a row, and what its quantity costs by itself."""
        owner = next(
            (
                each
                for each in self._known[row.external_customer_id]
                if any(part.holds(row.external_customer_id, row.arrival) for part in each.owned)
            ),
            None,
        )
        charging = [
            (item, price)
            for item, price in (owner.items if owner else ())
            if item.meter_id == row.meter_id and item.covers(row.timestamp)
        ]
        customer_id = owner.customer_id if owner else ""
        if not charging:
            yield (customer_id, "", "", ""), None
        for item, price in charging:
            yield (customer_id, item.subscription_id, item.id, item.price.id), price_quantity(price, row.quantity)


async def _meters(session: AsyncSession) -> dict[str, list[str]]:
    """The ids of the meters that look at events of each name."""
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for meter_id, event_name in await session.execute(select(MeterRow.id, MeterRow.event_name)):
        by_name[event_name].append(meter_id)
    return by_name


async def _features(session: AsyncSession) -> dict[str | None, str]:
    """The feature of each meter."""
    rows = await session.execute(
        select(Feature.meter_id, Feature.id).where(Feature.status == Status.PUBLISHED, Feature.meter_id.is_not(None))
    )
    return dict(rows.all())
