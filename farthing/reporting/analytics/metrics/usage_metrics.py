"""Events and usage over time: how many events there were, and what meters make of them.

Quantities come from the builder of usage queries, so that they are what invoices charge.
Rule: docs/rules/reporting.md#usage
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.windows import WindowSize
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.event_store import store_of
from farthing.events.usage.tallies import EventTally
from farthing.events.usage.usage_query import series_of, usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter, sharing
from farthing.reporting.analytics.catalogue import METADATA
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, Group, require_few, sums
from farthing.reporting.analytics.metrics.recurring_books import meets
from farthing.reporting.analytics.periods import Grain, Timeline

MOST_QUERIES = 5_000
"""Of how many meters, times customers, an answer may tell the usage."""

_SIZES = {
    Grain.HOUR: WindowSize.HOUR,
    Grain.DAY: WindowSize.DAY,
    Grain.WEEK: WindowSize.WEEK,
    Grain.MONTH: WindowSize.MONTH,
}


async def events_volume(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """How many events there are."""
    tally = EventTally(edges=timeline.edges, by_customer=_asks_owners(question))
    tallied = await store_of(session).usage.tally(session, tally)
    return await sums(session, question, tallied.query, timeline, value="sum(f.events)", given=tallied.given)


async def events_metered(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """How many events a meter counted; an event that several count is one, unless they are told apart."""
    by_feature = "feature_id" in question.dimensions
    meters = {row.id: meter_of(row) for row in await session.scalars(select(MeterRow))}
    features = select(Feature.meter_id, Feature.id).where(Feature.meter_id.is_not(None))
    asked_ids = frozenset(meter_id for meter_id, _ in await _things(session, question, meters.keys(), features))
    tally = EventTally(
        edges=timeline.edges,
        meter_ids=asked_ids,
        apart_ids=asked_ids - sharing([meters[meter_id] for meter_id in asked_ids]),
        by_meter=by_feature or "meter_id" in question.dimensions,
        by_customer=_asks_owners(question),
    )
    tallied = await store_of(session).usage.tally(session, tally)
    facts, met = tallied.query, {"meter_id", "feature_id"}
    if by_feature:
        met.remove("feature_id")  # a meter may be that of several
        facts = f"""
            SELECT counted.*, feature.id AS feature_id FROM ({facts}) AS counted JOIN features AS feature
                ON feature.meter_id = counted.meter_id AND feature.environment_id = :environment
        """
    left = tuple(condition for condition in question.conditions if condition.field not in met)
    asked = replace(question, conditions=left)
    return await sums(session, asked, facts, timeline, value="sum(f.events)", given=tallied.given)


def _asks_owners(question: Question) -> bool:
    """Whether something of the customers is asked about."""
    return any(name in {"customer_id", "country"} or name.startswith(METADATA) for name in question.fields)


@dataclass(frozen=True, slots=True)
class _UsageSource:
    """A meter, the feature it is asked as, and whose usage is meant; None is everybody's."""

    meter: Meter
    feature_id: str
    customers: frozenset[str] | None
    customer_id: str

    def group(self, question: Question) -> Group:
        values = {"meter_id": self.meter.id, "feature_id": self.feature_id, "customer_id": self.customer_id}
        return tuple(values[dimension] for dimension in question.dimensions)


async def usage_quantity(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """The usage of each meter or feature in each bucket, by customer if that is asked."""
    sources = await _sources(session, question, timeline)
    if len(sources) > MOST_QUERIES:
        raise ValidationFailed.of("filters", f"must leave at most {MOST_QUERIES:,} pairs of meters and customers")
    queries = [
        UsageQuery(
            source.meter,
            timeline.start,
            timeline.end,
            source.customers,
            zone=question.range.zone,
            customers_are_ids=source.customers is not None,
        )
        for source in sources
    ]
    cells: dict[tuple[int, Group], Decimal] = {}
    if question.grain is None:
        for source, usage in zip(sources, await usage_of(session, queries), strict=True):
            if usage.event_count or usage.value:
                cells[0, source.group(question)] = usage.value
        return cells
    numbers = {start: number for number, start in enumerate(timeline.starts)}
    for source, groups in zip(sources, await series_of(session, queries, _SIZES[question.grain]), strict=True):
        for point in groups.get((), ()):
            cells[numbers[point.start], source.group(question)] = point.value
    require_few(cells)
    return cells


async def _sources(session: AsyncSession, question: Question, timeline: Timeline) -> list[_UsageSource]:
    meters = {
        row.id: meter_of(row)
        for row in await session.scalars(select(MeterRow).where(MeterRow.status != Status.DELETED))
    }
    features = select(Feature.meter_id, Feature.id).where(
        Feature.status != Status.DELETED, Feature.meter_id.is_not(None)
    )
    wanted = sorted(await _things(session, question, meters.keys(), features))
    of_customers = [condition for condition in question.conditions if condition.field == "customer_id"]
    if "customer_id" not in question.dimensions and not of_customers:
        return [_UsageSource(meters[meter_id], feature_id, None, "") for meter_id, feature_id in wanted]
    if "customer_id" not in question.dimensions:
        ids = frozenset(await session.scalars(select(Customer.id)))
        chosen = frozenset(
            customer_id for customer_id in ids if all(meets(condition, customer_id) for condition in of_customers)
        )
        return [_UsageSource(meters[meter_id], feature_id, chosen, "") for meter_id, feature_id in wanted]
    users = await _users(session, {meter_id for meter_id, _ in wanted}, timeline)
    return [
        _UsageSource(meters[meter_id], feature_id, frozenset({customer_id}), customer_id)
        for meter_id, feature_id in wanted
        for customer_id in users.get(meter_id, ())
        if all(meets(condition, customer_id) for condition in of_customers)
    ]


async def _things(
    session: AsyncSession, question: Question, meter_ids: Collection[str], features: Select[str | None, str]
) -> list[tuple[str, str]]:
    """The meters that are asked about, each with each of the features that are asked as it; "" where none is."""
    pairs = [(meter_id, "") for meter_id in meter_ids]
    if "feature_id" in question.fields:
        rows = await session.execute(features)
        pairs = [(meter_id, feature_id) for meter_id, feature_id in rows if meter_id and meter_id in meter_ids]
    conditions = [condition for condition in question.conditions if condition.field in {"meter_id", "feature_id"}]
    return [
        (meter_id, feature_id)
        for meter_id, feature_id in pairs
        if all(meets(condition, meter_id if condition.field == "meter_id" else feature_id) for condition in conditions)
    ]


async def _users(session: AsyncSession, meter_ids: set[str], timeline: Timeline) -> dict[str, list[str]]:
    """Who used each meter in the time."""
    tally = EventTally(edges=(timeline.start, timeline.end), meter_ids=meter_ids, by_meter=True, by_customer=True)
    tallied = await store_of(session).usage.tally(session, tally)
    statement = text(f"SELECT DISTINCT meter_id, customer_id FROM ({tallied.query}) AS counted ORDER BY 1, 2")
    users: dict[str, list[str]] = {}
    for meter_id, customer_id in await session.execute(statement, dict(tallied.given)):
        users.setdefault(meter_id, []).append(customer_id)
    return users
