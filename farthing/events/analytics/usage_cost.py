"""Usage with its cost: one item per line item and group.

Rule: docs/rules/metering.md#usage-with-cost
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_start, windows
from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.products import tables
from farthing.catalogue.products.answers import feature_answer, group_answer, groups_by_id, meter_answer
from farthing.core.clock import instant
from farthing.core.currency import digits
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.events.charged_items import ChargedItem
from farthing.events.groupings import CUSTOMER, PROPERTY, SOURCE
from farthing.events.ingest.meters import meter_of
from farthing.events.ports import EventPorts
from farthing.events.requests import GetUsageAnalyticsRequest, conditions_of, size_of
from farthing.events.schemas import (
    CommitmentInfo,
    GetUsageAnalyticsResponse,
    UsageAnalyticItem,
    UsageAnalyticPoint,
)
from farthing.events.usage import usage_query
from farthing.events.usage.ownership import owners_of
from farthing.events.usage.usage_query import NOTHING, Group, TooManyRows
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter
from farthing.metering.model import BucketValue, Point, Usage
from farthing.rating.commitments.line_commitment import CommitmentCharge, item_commitment, total_charge
from farthing.rating.commitments.windows import WindowTerms, WindowUsage, charge_windows
from farthing.rating.pricing.cost import price_quantity, price_values
from farthing.storage.postgres import ports_of

_SIZES = list(WindowSize)
MOST_GROUPS = 10_000
"""Of an answer over HTTP that is split by `group_by`."""
MOST_POINTS = 100_000
"""Of all its groups together, or buckets of them."""
_NARROWER = "narrow it with feature_ids, sources, property_filters or external_customer_id, or ask for a shorter time"


@dataclass(slots=True)
class _UsageQuestion:
    """One question of the request: a meter's usage, charged by an item or by nobody."""

    row: tables.MeterRow
    meter: Meter
    query: UsageQuery
    item: ChargedItem | None = None
    committed: bool = False


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much an answer may hold."""

    groups: int
    points: int


@dataclass(slots=True)
class _Found:
    """What was found for one line and group."""

    line: _UsageQuestion
    group: Group
    usage: Usage
    buckets: Sequence[BucketValue]
    points: Sequence[Point]
    sources: Sequence[str]


async def analytics(
    session: AsyncSession, request: GetUsageAnalyticsRequest, now: datetime
) -> GetUsageAnalyticsResponse:
    """Usage and cost of a customer by line item; without a customer, usage alone of the whole environment.

    Any failure is the request's. Raises ValidationFailed.
    """
    return await _added_up(session, request, now, None)


async def _added_up(
    session: AsyncSession, request: GetUsageAnalyticsRequest, now: datetime, bounds: _Bounds | None
) -> GetUsageAnalyticsResponse:
    start, end = request.span(now)
    if request.external_customer_id:
        children = bool(request.include_children)
        list_charged_items = ports_of(session, EventPorts).list_charged_items
        owners = set((await owners_of(session, {request.external_customer_id})).values())
        charged = await list_charged_items(session, owners, start, end, children)
        lines = await _charged_lines(session, request, charged, now)
    else:
        lines = await _uncharged_lines(session, request, now)
    items = await _answered(session, request, lines, now, bounds)
    return GetUsageAnalyticsResponse(
        subtotal=_added(item.subtotal for item in items),
        total_discount=_added(item.total_discount for item in items),
        total_cost=_added(item.total_cost for item in items),
        currency=next((line.item.price.currency for line in lines if line.item), ""),
        items=items,
    )


async def bounded_analytics(
    session: AsyncSession, request: GetUsageAnalyticsRequest, now: datetime
) -> GetUsageAnalyticsResponse:
    """The same, with at most `MOST_GROUPS` groups and `MOST_POINTS` points, where groups are asked for.

    Raises ValidationFailed for more, before they are read.
    """
    return await _added_up(session, request, now, _Bounds(MOST_GROUPS, MOST_POINTS) if request.dimensions() else None)


async def charged_usage(
    session: AsyncSession, request: GetUsageAnalyticsRequest, charged: Sequence[ChargedItem], now: datetime
) -> list[UsageAnalyticItem]:
    """The same for these items, whoever their customers are; the request's own customer is not looked at."""
    return await _answered(session, request, await _charged_lines(session, request, charged, now), now)


async def _answered(
    session: AsyncSession,
    request: GetUsageAnalyticsRequest,
    lines: Sequence[_UsageQuestion],
    now: datetime,
    bounds: _Bounds | None = None,
) -> list[UsageAnalyticItem]:
    size = size_of(request.window_size)
    wanted = frozenset(request.expand or ())
    try:
        found = await _found(session, lines, size, bounds, with_sources="source" in wanted)
    except TooManyRows as error:
        raise ValidationFailed.of(
            "group_by", f"must not give more than {MOST_POINTS} points of all groups; {_NARROWER}"
        ) from error
    features = await _features(session, [line.row.id for line in lines])
    priced = (_item(match, features.get(match.line.row.id), size, now) for match in found)
    items = await collect(priced, usage_query.owner_of_usage(session))
    await _expand(session, found, items, features, wanted)
    items.sort(
        key=lambda item: (
            item.name or "",
            item.sub_line_item_id or "",
            item.source or "",
            sorted((item.properties or {}).items()),
            item.external_customer_id or "",
        )
    )
    return items


async def _uncharged_lines(
    session: AsyncSession, request: GetUsageAnalyticsRequest, now: datetime
) -> list[_UsageQuestion]:
    start, end = request.span(now)
    sources = frozenset(request.sources) if request.sources else None
    properties = conditions_of("property_filters", request.property_filters)
    dimensions = request.dimensions()
    return [
        _UsageQuestion(row, meter, UsageQuery(meter, start, end, None, sources, properties, dimensions))
        for row, meter in (await meters_asked(session, request.feature_ids)).values()
    ]


async def _charged_lines(
    session: AsyncSession, request: GetUsageAnalyticsRequest, charged: Sequence[ChargedItem], now: datetime
) -> list[_UsageQuestion]:
    start, end = request.span(now)
    dimensions = request.dimensions()
    sources = frozenset(request.sources) if request.sources else None
    properties = conditions_of("property_filters", request.property_filters)
    # a commitment is to all of a line item's usage, so narrowed usage cannot be held against it
    narrowed = bool(sources or properties or any(dimension != CUSTOMER for dimension in dimensions))
    meters = await meters_asked(session, request.feature_ids)
    lines: list[_UsageQuestion] = []
    for item in charged:
        span = item.within(start, end)
        if item.meter_id not in meters or span is None:
            continue
        row, meter = meters[item.meter_id]
        committed = item.commitment is not None and not narrowed
        query = UsageQuery(
            meter,
            span.start,
            span.end,
            item.customers,
            sources,
            properties,
            () if committed else dimensions,
            item.zone,
            item.month_day,
            customers_are_ids=True,
        )
        lines.append(_UsageQuestion(row, meter, query, item, committed))
    return lines


async def meters_asked(
    session: AsyncSession, feature_ids: list[str] | None
) -> dict[str, tuple[tables.MeterRow, Meter]]:
    """Meters by id: those of the features asked for, else all that were not deleted."""
    statement = select(tables.MeterRow).where(tables.MeterRow.status != Status.DELETED)
    if feature_ids:
        chosen = select(tables.Feature.meter_id).where(tables.Feature.id.in_(feature_ids))
        statement = statement.where(tables.MeterRow.id.in_(chosen))
    return {row.id: (row, meter_of(row)) for row in await session.scalars(statement)}


async def _features(session: AsyncSession, meter_ids: Sequence[str]) -> dict[str, tables.Feature]:
    """The published feature of each meter that has one."""
    rows = await session.scalars(
        select(tables.Feature).where(
            tables.Feature.meter_id.in_(set(meter_ids)), tables.Feature.status == Status.PUBLISHED
        )
    )
    return {row.meter_id or "": row for row in rows}


async def _found(
    session: AsyncSession,
    lines: Sequence[_UsageQuestion],
    size: WindowSize | None,
    bounds: _Bounds | None,
    *,
    with_sources: bool,
) -> list[_Found]:
    """All lines' groups, with a statement per kind of question and not per line. Raises ValidationFailed, TooManyRows
    where they are beyond the bounds.
    """
    most = None if bounds is None else bounds.points
    queries = [line.query for line in lines]
    bucketed = [number for number, query in enumerate(queries) if query.buckets]
    usages = await usage_query.grouped_of(session, queries, most=most)
    if bounds is not None and sum(map(len, usages)) > bounds.groups:
        raise ValidationFailed.of("group_by", f"must not give more than {bounds.groups} groups; {_NARROWER}")
    values = dict(
        zip(
            bucketed,
            await usage_query.grouped_buckets_of(session, [queries[number] for number in bucketed], most=most),
            strict=True,
        )
    )
    points = await usage_query.series_of(session, queries, size, most=most) if size else [{} for _ in queries]
    sources: list[dict[Group, list[str]]] = [defaultdict(list) for _ in queries]
    if with_sources:
        split = [dataclasses.replace(query, group_by=(*query.group_by, SOURCE)) for query in queries]
        for number, groups in enumerate(await usage_query.grouped_of(session, split, most=most)):
            for group in sorted(groups, key=lambda names: str(names[-1])):
                sources[number][group[:-1]].append(str(group[-1]))
    found: list[_Found] = []
    for number, line in enumerate(lines):
        groups = {group: usage for group, usage in usages[number].items() if usage.event_count or usage.value}
        if line.committed and not groups:
            groups = {(): NOTHING}
        for group, usage in groups.items():
            found.append(
                _Found(
                    line,
                    group,
                    usage,
                    values.get(number, {}).get(group, []),
                    points[number].get(group, []),
                    sources[number].get(group, []),
                )
            )
    return found


def _item(
    found: _Found,
    feature: tables.Feature | None,
    size: WindowSize | None,
    now: datetime,
) -> UsageAnalyticItem:
    line, item, total = found.line, found.line.item, found.usage.value
    answer = UsageAnalyticItem(
        feature_id=feature.id if feature else "",
        total_usage=plain(total),
        total_usage_display="",
        subtotal="0",
        total_discount="0",
        total_cost="0",
        event_count=found.usage.event_count,
        name=(feature.name if feature else line.row.name) or None,
        meter_id=line.row.id,
        event_name=line.row.event_name,
        aggregation_type=line.meter.aggregation.type,
        sources=list(found.sources) or None,
    )
    for dimension, value in zip(line.query.group_by, found.group, strict=True):
        if dimension == SOURCE:
            answer.source = value or None
        elif dimension == CUSTOMER:
            answer.external_customer_id = value
        elif value is not None:
            answer.properties = {**(answer.properties or {}), dimension.removeprefix(PROPERTY): value}
    if feature is not None:
        answer.unit, answer.unit_plural = feature.unit_singular or None, feature.unit_plural or None
        reporting = feature_answer(feature).reporting_unit
        if reporting is not None and feature.reporting_unit is not None:
            answer.reporting_unit = reporting
            answer.total_usage_display = plain(
                EXACT.multiply(total, Decimal(feature.reporting_unit["conversion_rate"]))
            )
    if item is not None:
        _charge(answer, found, item, now)
    if size is not None:
        bucket = line.meter.aggregation.bucket_size
        answer.window_size = max([size, *([bucket] if bucket else [])], key=_SIZES.index)
        how = line.query.windows(size)
        by_window: dict[datetime, list[Decimal]] = defaultdict(list)
        for cut_value in found.buckets:
            by_window[window_start(cut_value.start, how.size, how.zone, how.month_day)].append(cut_value.value)
        values = by_window if line.query.buckets else {point.start: [point.value] for point in found.points}
        answer.points = [_point(point, values[point.start], item) for point in found.points]
    elif line.meter.aggregation.bucket_size:
        answer.window_size = line.meter.aggregation.bucket_size
    return answer


def _charge(answer: UsageAnalyticItem, found: _Found, item: ChargedItem, now: datetime) -> None:
    """What the item's price makes of the usage, its commitment and its lasting percentage coupons included."""
    price, places = rated(item.price), digits(item.price.currency)
    bucketed = found.line.query.buckets is not None
    cost = (
        price_values(price, [bucket.value for bucket in found.buckets])
        if bucketed
        else price_quantity(price, found.usage.value)
    )
    if found.line.committed:
        charge = _committed(found, item, cost, now).rounded(places)
        subtotal = charge.amount
        answer.commitment_info = CommitmentInfo(
            **item.commitment_terms,
            is_windowed=item.is_windowed,
            computed_commitment_utilized_amount=plain(charge.utilized),
            computed_overage_amount=plain(charge.overage),
            computed_true_up_amount=plain(charge.true_up),
        )
    else:
        subtotal = round_to(cost, places)
    discount = _discount(subtotal, item, places)
    answer.subtotal, answer.total_discount = plain(subtotal), plain(discount)
    answer.total_cost = plain(EXACT.subtract(subtotal, discount))
    answer.currency = item.price.currency
    answer.price_id, answer.sub_line_item_id = item.price.id, item.id
    answer.subscription_id = item.subscription_id
    answer.plan_id, answer.add_on_id = item.plan_id or None, item.addon_id or None


def _committed(found: _Found, item: ChargedItem, cost: Decimal, now: datetime) -> CommitmentCharge:
    query = found.line.query
    if not (item.is_windowed and query.buckets):
        return item_commitment(cost, item.commitment)
    values: dict[datetime, list[Decimal]] = defaultdict(list)
    until = min(query.end, now)
    if item.commitment is not None and item.commitment.true_up and query.start < until:
        # empty windows are charged too, as far as time has come
        how = query.buckets
        for window in windows(Period(query.start, until), how.size, how.zone, how.month_day):
            values[window.start] = []
    for bucket in found.buckets:
        values[bucket.start].append(bucket.value)
    usage = [WindowUsage(start, tuple(parts)) for start, parts in sorted(values.items())]
    charges = charge_windows(usage, WindowTerms(rated(item.price), item.commitment), item.time_buckets)
    return total_charge([window.charge for window in charges])


def _point(point: Point, values: Sequence[Decimal], item: ChargedItem | None) -> UsageAnalyticPoint:
    """One window with the cost of its usage alone: of `values`, each priced on its own."""
    subtotal = discount = ZERO
    if item is not None:
        places = digits(item.price.currency)
        subtotal = round_to(price_values(rated(item.price), values), places)
        discount = _discount(subtotal, item, places)
    return UsageAnalyticPoint(
        timestamp=instant(point.start),
        usage=plain(point.value),
        subtotal=plain(subtotal),
        discount=plain(discount),
        cost=plain(EXACT.subtract(subtotal, discount)),
        event_count=point.event_count,
        computed_commitment_utilized_amount="0",
        computed_overage_amount="0",
        computed_true_up_amount="0",
    )


def _discount(subtotal: Decimal, item: ChargedItem, places: int) -> Decimal:
    return round_to(Fraction(subtotal) * Fraction(item.percent_off) / 100, places)


async def _expand(
    session: AsyncSession,
    found: Sequence[_Found],
    items: Sequence[UsageAnalyticItem],
    features: Mapping[str, tables.Feature],
    wanted: frozenset[str],
) -> None:
    """Fill in the objects that `expand` asks for, one query per kind."""
    prices = {match.line.item.price.id: match.line.item.price for match in found if match.line.item}
    priced = {}
    if "price" in wanted:
        answers = await price_answers(session, list(prices.values()), frozenset())
        priced = {answer.id: answer for answer in answers}
    groups = await groups_by_id(session, (feature.group_id for feature in features.values()))
    for match, answer in zip(found, items, strict=True):
        feature, item = features.get(match.line.row.id), match.line.item
        if "meter" in wanted:
            answer.meter = meter_answer(match.line.row)
        if feature is not None:
            group = groups.get(feature.group_id or "")
            answer.group = group_answer(group) if group else None
            if "feature" in wanted:
                answer.feature = feature_answer(feature)
        if item is not None:
            answer.price = priced.get(item.price.id)
            for name in wanted & {"subscription_line_item", "plan", "addon"}:
                setattr(answer, name, item.answers.get(name))


def _added(amounts: Iterable[str]) -> str:
    return plain(exact_sum([Decimal(amount) for amount in amounts]))
