"""Meters: made whole, widened by filter values, disabled. What they measured stays reproducible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue import in_use
from farthing.catalogue.fields import require_published
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.products.schemas import (
    MOST_FILTER_KEYS,
    MOST_FILTER_VALUES,
    CreateMeterRequest,
    MeterFilter,
    MeterQuery,
)
from farthing.catalogue.products.tables import MeterRow
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import TenantConfig
from farthing.metering import meter as metering
from farthing.metering.expression import MAX_COST
from farthing.metering.filters import Filter
from farthing.storage.notices import notify
from farthing.storage.postgres import ports_of, scope_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row

TOPIC = "meters"
"""Notices: the meters of the environment that is the key have changed."""

MOST_COST_PER_EVENT_NAME = 4 * MAX_COST
"""What measuring one event with all meters of its name may cost; a batch of events costs that a thousand times."""

SEARCHABLE = ("id", "name", "event_name", "aggregation_type", "reset_usage", "status", "created_at", "updated_at")


def definition(row: MeterRow) -> metering.Meter:
    """A meter as measuring sees it."""
    return metering.Meter(
        id=row.id,
        event_name=row.event_name,
        aggregation=metering.Aggregation(
            type=row.aggregation_type,
            field=row.field,
            expression=row.expression,
            multiplier=row.multiplier,
            bucket_size=row.bucket_size,
            group_by=row.group_by,
        ),
        filters=tuple(Filter(condition["key"], tuple(condition["values"])) for condition in row.filters),
        reset_usage=row.reset_usage,
    )


async def create(session: AsyncSession, request: CreateMeterRequest) -> MeterRow:
    """Insert a meter that can measure. Raises ValidationFailed naming every field that breaks a rule."""
    aggregation = request.aggregation
    meter = MeterRow(
        id=new_id(Kind.METER),
        name=request.name,
        event_name=request.event_name,
        aggregation_type=aggregation.type,
        field=aggregation.field or None,
        expression=aggregation.expression or None,
        multiplier=aggregation.multiplier,
        bucket_size=aggregation.bucket_size,
        group_by=aggregation.group_by or None,
        filters=merged([], request.filters or ()),
        reset_usage=request.reset_usage,
    )
    return await _add(session, meter)


async def copy(session: AsyncSession, source: MeterRow) -> MeterRow:
    """A meter of its own that measures as `source` does."""
    meter = MeterRow(
        id=new_id(Kind.METER),
        name=source.name,
        event_name=source.event_name,
        aggregation_type=source.aggregation_type,
        field=source.field,
        expression=source.expression,
        multiplier=source.multiplier,
        bucket_size=source.bucket_size,
        group_by=source.group_by,
        filters=merged(source.filters, ()),
        reset_usage=source.reset_usage,
    )
    return await _add(session, meter)


async def _add(session: AsyncSession, meter: MeterRow) -> MeterRow:
    """Insert a meter, and let it count what is stored."""
    await _weigh(session, meter)
    session.add(meter)
    await _changed(session)
    await ports_of(session, CataloguePorts).fill_new_meter(session, meter.id)
    return meter


async def _weigh(session: AsyncSession, meter: MeterRow) -> None:
    """Refuse a meter that costs too much, alone or with the others that measure the same events."""
    formula = definition(meter).aggregation.formula
    if formula is not None and formula.expression.cost > MAX_COST:
        raise ValidationFailed.of(
            "aggregation.expression",
            f"costs {formula.expression.cost} and may cost {MAX_COST}: an operator costs 1, sqrt 8, log 100, pow 400, "
            "and 8 to a whole number",
        )
    # one at a time, so that two cannot both be the last that is allowed
    lock = f"meters/{scope_of(session).environment_id}/{meter.event_name}"
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": lock})
    others = (
        await session.scalars(
            select(MeterRow).where(MeterRow.event_name == meter.event_name, MeterRow.status == Status.PUBLISHED)
        )
    ).all()
    most = (await current.read(session, TenantConfig)).max_meters_per_event_name
    if len(others) >= most:
        raise ValidationFailed.of("event_name", f"has {len(others)} meters, and may have at most {most}")
    cost = sum(definition(other).cost for other in (*others, meter) if other.expression)
    if cost > MOST_COST_PER_EVENT_NAME and formula is not None:
        raise ValidationFailed.of(
            "aggregation.expression",
            f"the expressions of all meters of this event name would cost {cost} "
            f"and may cost {MOST_COST_PER_EVENT_NAME}",
        )


def merged(stored: Iterable[dict[str, Any]], added: Iterable[MeterFilter]) -> list[dict[str, Any]]:
    """Filters with values added: what was there stays where it was, new values and keys go to the end, none twice.

    Raises ValidationFailed when that makes too many.
    Rule: docs/rules/catalogue.md#filters-of-a-meter
    """
    values: dict[str, dict[str, None]] = {condition["key"]: dict.fromkeys(condition["values"]) for condition in stored}
    for filter_ in added:
        values.setdefault(filter_.key, {}).update(dict.fromkeys(filter_.values))
    if len(values) > MOST_FILTER_KEYS:
        raise ValidationFailed.of("filters", f"must have at most {MOST_FILTER_KEYS} keys")
    for key, texts in values.items():
        if len(texts) > MOST_FILTER_VALUES:
            raise ValidationFailed.of("filters", f"must have at most {MOST_FILTER_VALUES} values for '{key}'")
    return [{"key": key, "values": list(texts)} for key, texts in values.items()]


async def widen(session: AsyncSession, meter_id: str, filters: Sequence[MeterFilter]) -> MeterRow:
    """Add filter values; nothing is ever taken away. Raises NotFound, InvalidOperation on a disabled meter."""
    meter = await lock_row(session, MeterRow, meter_id)
    require_published(meter)
    wider = merged(meter.filters, filters)
    if wider != meter.filters:
        meter.filters = wider
        await _changed(session)
    return meter


async def disable(session: AsyncSession, meter_id: str) -> MeterRow:
    """Archive a meter: it measures nothing from now on. Raises InvalidOperation while a live price charges by it."""
    meter = await lock_row(session, MeterRow, meter_id)
    require_published(meter)
    ports = ports_of(session, CataloguePorts)
    counts = (ports.count_prices_of_meter, ports.count_line_items_of_meter)
    await in_use.refuse_if_used(session, counts, MeterRow.label, meter.id)
    meter.status = Status.ARCHIVED
    await _changed(session)
    return meter


async def search(session: AsyncSession, query: MeterQuery) -> tuple[list[MeterRow], int]:
    """One page of meters and the count of all that match."""
    statement = select(MeterRow)
    if query.event_name:
        statement = statement.where(MeterRow.event_name == query.event_name)
    if query.meter_ids:
        statement = statement.where(MeterRow.id.in_(query.meter_ids))
    return await select_page(session, MeterRow, query, SEARCHABLE, statement)


async def _changed(session: AsyncSession) -> None:
    """Whoever remembers this environment's meters forgets them at the commit."""
    await session.flush()
    await notify(session, TOPIC, scope_of(session).environment_id)
