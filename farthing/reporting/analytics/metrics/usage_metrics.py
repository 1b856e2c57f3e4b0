"""Events and usage over time: how many events there were, and what meters make of them.

Quantities come from the builder of usage queries, so that they are what invoices charge.
Rule: docs/rules/reporting.md#usage
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.windows import WindowSize
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.event_store import require_tables
from farthing.events.usage.usage_query import series_of, usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter
from farthing.reporting.analytics.catalogue import METADATA
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, Group, require_few, scope_parameters, sums
from farthing.reporting.analytics.metrics.recurring import meets
from farthing.reporting.analytics.periods import Grain, Timeline

MOST_QUERIES = 5_000
"""Of how many meters, times customers, an answer may tell the usage."""

_SIZES = {
    Grain.HOUR: WindowSize.HOUR,
    Grain.DAY: WindowSize.DAY,
    Grain.WEEK: WindowSize.WEEK,
    Grain.MONTH: WindowSize.MONTH,
}
_OWNED = """
    JOIN external_id_tenures AS t ON t.environment_id = :environment AND t.external_id = u.external_customer_id
        AND coalesce(u.owner_sequence, u.sequence) >= t.since_sequence
        AND (t.until_sequence IS NULL OR coalesce(u.owner_sequence, u.sequence) < t.until_sequence)
"""


def _owners(question: Question) -> str:
    """The join to who owns an event, where a customer is asked about."""
    asks = any(name in {"customer_id", "country"} or name.startswith(METADATA) for name in question.fields)
    return _OWNED if asks else ""


async def events_volume(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """How many events there are. Raises NotImplementedHere where they are no tables of the database."""
    require_tables(session, "The number of events")
    owners = _owners(question)
    facts = f"""
        SELECT u.timestamp AS at {", t.customer_id" if owners else ""} FROM events AS u {owners}
        WHERE u.environment_id = :environment AND u.timestamp >= :since AND u.timestamp < :until
    """
    return await sums(session, question, facts, timeline, value="count(*)")


async def events_metered(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """How many events a meter counted; an event that several count is one, unless they are told apart.

    Raises NotImplementedHere where events are no tables of the database.
    """
    require_tables(session, "The number of metered events")
    owners = _owners(question)
    features = "feature_id" in question.fields
    facts = f"""
        SELECT u.timestamp AS at, u.sequence, u.meter_id {", t.customer_id" if owners else ""}
            {", feature.id AS feature_id" if features else ""}
        FROM meter_usage AS u {owners}
        {
        "JOIN features AS feature ON feature.meter_id = u.meter_id AND feature.environment_id = :environment"
        if features
        else ""
    }
        WHERE u.environment_id = :environment AND u.timestamp >= :since AND u.timestamp < :until
    """
    return await sums(session, question, facts, timeline, value="count(DISTINCT f.sequence)")


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
    pairs = [(meter_id, "") for meter_id in meters]
    if "feature_id" in question.fields:
        rows = await session.execute(
            select(Feature.meter_id, Feature.id).where(Feature.status != Status.DELETED, Feature.meter_id.is_not(None))
        )
        pairs = [(meter_id, feature_id) for meter_id, feature_id in rows if meter_id in meters]
    of_things = [condition for condition in question.conditions if condition.field != "customer_id"]
    wanted = sorted(
        (meter_id, feature_id)
        for meter_id, feature_id in pairs
        if all(meets(condition, meter_id if condition.field == "meter_id" else feature_id) for condition in of_things)
    )
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


async def _users(session: AsyncSession, meter_ids: set[str], timeline: Timeline) -> dict[str, list[str]]:
    """Who used each meter in the time. Raises NotImplementedHere where events are no tables of the database."""
    require_tables(session, "Usage by customer")
    statement = f"""
        SELECT DISTINCT u.meter_id, t.customer_id FROM meter_usage AS u {_OWNED}
        WHERE u.environment_id = :environment AND u.meter_id = ANY(:meters)
            AND u.timestamp >= :since AND u.timestamp < :until
        ORDER BY 1, 2
    """
    parameters = {
        **scope_parameters(session),
        "meters": sorted(meter_ids),
        "since": timeline.start,
        "until": timeline.end,
    }
    users: dict[str, list[str]] = {}
    for meter_id, customer_id in await session.execute(text(statement), parameters):
        users.setdefault(meter_id, []).append(customer_id)
    return users
