"""How much of what it may use a customer has used: the usage summary.

Rule: docs/rules/metering.md#customer-usage-summary
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.recurring import UsageReset, reset_windows
from farthing.calendar.windows import anchor_day
from farthing.catalogue.entitlements.enums import GrantDurationUnit, GrantMeasure
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import FeatureResponse
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.clock import instant
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.money import ZERO, exact_sum, plain, round_to
from farthing.customers import lookup as customers
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.requests import past
from farthing.events.usage.usage_query import usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.storage.queries.listing import Pagination, by_id
from farthing.storage.queries.rows import find
from farthing.subscriptions.ports import GrantAllowance
from farthing.subscriptions.reads import lookup
from farthing.subscriptions.reads.entitlements import (
    allowances_of,
    buckets_of,
    features_by_id,
    grant_fields,
    names_of,
    source_of,
)
from farthing.subscriptions.schemas.responses import AggregatedEntitlementBucket, EntitlementSource, GrantState
from farthing.subscriptions.snapshot.entitlements import FeatureEntitlement, combined, effective
from farthing.subscriptions.snapshot.loading import load
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot

SHARE_DIGITS = 16
FULL = Decimal(100)
"""What `usage_percent` says where nothing may be used; elsewhere it is a fraction. So the wire has it."""

_INSTANT = timedelta(microseconds=1)
_ORDER = (FeatureType.METERED, FeatureType.STATIC, FeatureType.BOOLEAN, FeatureType.CONFIG)


class FeatureUsageSummary(Response):
    """One feature: what is included and what was used of it. `total_limit` null is unlimited, `usage_percent` a
    fraction of 1."""

    feature: FeatureResponse
    total_limit: int | None
    is_unlimited: bool
    current_usage: DecimalText
    usage_percent: DecimalText
    is_enabled: bool
    is_soft_limit: bool
    next_usage_reset_at: Timestamp | None
    sources: list[EntitlementSource]
    buckets: list[AggregatedEntitlementBucket] | None = None
    grant_measure: GrantMeasure | None = None
    grant_quota: DecimalText | None = None
    grant_duration_unit: GrantDurationUnit | None = None
    grant_duration_value: int | None = None
    grant_unlimited: bool | None = None
    grant_state: GrantState | None = None


class BillingPeriodInfo(Response):
    """A period and its kind."""

    start_time: Timestamp
    end_time: Timestamp
    period: str


class CustomerUsageSummaryResponse(Response):
    """What a customer has used of each feature. `period` is always null: each feature has its own."""

    customer_id: str
    features: list[FeatureUsageSummary]
    period: BillingPeriodInfo | None
    pagination: Pagination | None = None


async def customer_asked(session: AsyncSession, customer_id: str | None, lookup_key: str | None) -> Customer:
    """The customer of this id or this external id, or of both. Raises ValidationFailed, NotFound."""
    if not (customer_id or lookup_key):
        raise ValidationFailed.of("customer_id", "is required, or customer_lookup_key")
    by_key = await customers.by_external_id(session, lookup_key) if lookup_key else None
    if not customer_id:
        assert by_key is not None
        return by_key
    customer = await find(session, Customer, customer_id)
    if by_key is not None and by_key.id != customer.id:
        raise ValidationFailed.of("customer_lookup_key", "names another customer than customer_id")
    return customer


async def features_asked(
    session: AsyncSession, feature_ids: Sequence[str], lookup_keys: Sequence[str]
) -> frozenset[str] | None:
    """Ids of the features named in either way; None when none are named, and all are meant."""
    if not feature_ids and not lookup_keys:
        return None
    found = await session.scalars(
        select(Feature.id).where(Feature.lookup_key.in_(lookup_keys), Feature.status == Status.PUBLISHED)
    )
    return frozenset([*feature_ids, *found])


async def usage_summary(
    session: AsyncSession,
    customer: Customer,
    wanted: Collection[str] | None,
    subscription_ids: Sequence[str],
    now: datetime,
) -> CustomerUsageSummaryResponse:
    """What the customer has used, up to `now`, of each feature that its active and trialing subscriptions include.

    Of `wanted` features and these subscriptions; None and none mean all.
    """
    rows = await lookup.entitling(session, customer.id, subscription_ids)
    snapshots = await load(session, [row.id for row in rows])
    found = {
        snapshot.id: {
            id: each
            for id, each in effective(snapshot.entitled, snapshot.full_period).items()  # noqa: A001
            if wanted is None or id in wanted
        }
        for snapshot in snapshots
    }
    together = combined(found.values())
    features = await features_by_id(session, list(together))
    names = await names_of(session, snapshots)
    used = await _used(session, snapshots, found, now)
    allowances = await allowances_of(session, snapshots)
    answers = [
        _summary(
            features[id],
            entitlement,
            used.get(id, ZERO),
            _next_reset(
                [(snapshot, found[snapshot.id][id]) for snapshot in snapshots if id in found[snapshot.id]], now
            ),
            [
                source_of(source, subscription_id, names)
                for subscription_id, each in found.items()
                if id in each
                for source in each[id].sources
            ],
            [left for snapshot in snapshots for left in allowances.get((snapshot.id, id), ())],
        )
        for id, entitlement in together.items()  # noqa: A001
        if id in features
    ]
    answers.sort(key=lambda summary: (_ORDER.index(summary.feature.type), summary.feature.name, summary.feature.id))
    return CustomerUsageSummaryResponse(customer_id=customer.id, features=answers, period=None)


def _summary(
    feature: FeatureResponse,
    entitlement: FeatureEntitlement,
    used: Decimal,
    resets_at: datetime | None,
    sources: list[EntitlementSource],
    allowances: Sequence[GrantAllowance],
) -> FeatureUsageSummary:
    limit = entitlement.limit
    return FeatureUsageSummary(
        feature=feature,
        total_limit=None if limit is None else int(limit),
        is_unlimited=limit is None,
        current_usage=plain(used),
        usage_percent=plain(_share(used, limit)),
        is_enabled=True,
        is_soft_limit=entitlement.soft,
        next_usage_reset_at=None if resets_at is None else instant(resets_at),
        sources=sources,
        buckets=buckets_of(entitlement),
        **grant_fields(entitlement, allowances),
    )


def _share(used: Decimal, limit: Decimal | None) -> Decimal:
    if limit is None:
        return ZERO
    return FULL if limit <= 0 else round_to(Fraction(used) / Fraction(limit), SHARE_DIGITS)


async def _used(
    session: AsyncSession,
    snapshots: Sequence[SubscriptionSnapshot],
    found: Mapping[str, Mapping[str, FeatureEntitlement]],
    now: datetime,
) -> dict[str, Decimal]:
    """What was used of each metered feature: each customer's usage once, in the window of its first subscription."""
    meter_ids = {
        entitlement.meter_id for each in found.values() for entitlement in each.values() if entitlement.meter_id
    }
    meters = (
        by_id((await session.scalars(select(MeterRow).where(MeterRow.id.in_(meter_ids)))).all()) if meter_ids else {}
    )
    asked: list[tuple[str, UsageQuery]] = []
    counted: set[tuple[str, str]] = set()
    for snapshot in snapshots:
        zone = snapshot.recurrence.zone
        month_day = anchor_day(snapshot.recurrence.anchor, zone)
        for feature_id, entitlement in found[snapshot.id].items():
            window = _window(snapshot, entitlement, now)
            if entitlement.meter_id not in meters or window is None:
                continue
            # customers who count for the same time are one question: some meters do not add up over customers
            by_span: dict[tuple[datetime, datetime], set[str]] = {}
            for customer in snapshot.usage_customers:
                until = past(now)
                start, end = max(window.start, customer.start), min(until, customer.end or until)
                if start < end and (feature_id, customer.customer_id) not in counted:
                    counted.add((feature_id, customer.customer_id))
                    by_span.setdefault((start, end), set()).add(customer.customer_id)
            meter = meter_of(meters[entitlement.meter_id])
            asked += [
                (
                    feature_id,
                    UsageQuery(meter, *span, frozenset(whose), zone=zone, month_day=month_day, customers_are_ids=True),
                )
                for span, whose in by_span.items()
            ]
    parts: dict[str, list[Decimal]] = {}
    usages = await usage_of(session, [query for _, query in asked])
    for (feature_id, _), usage in zip(asked, usages, strict=True):
        parts.setdefault(feature_id, []).append(usage.value)
    return {feature_id: exact_sum(values) for feature_id, values in parts.items()}


def _window(snapshot: SubscriptionSnapshot, entitlement: FeatureEntitlement, now: datetime) -> Period | None:
    """The reset window that holds `now`, in its full length; None before the subscription starts."""
    if now < snapshot.start:
        return None
    span = Period(now, now + _INSTANT)
    return reset_windows(entitlement.reset, snapshot.full_period, snapshot.recurrence, snapshot.start, span)[0]


def _next_reset(included: Sequence[tuple[SubscriptionSnapshot, FeatureEntitlement]], now: datetime) -> datetime | None:
    """When the first of the subscriptions' windows ends, at its subscription's end at the latest; NEVER has none."""
    ends: list[datetime] = []
    for snapshot, entitlement in included:
        if entitlement.feature_type is FeatureType.METERED and entitlement.reset is not UsageReset.NEVER:
            window = _window(snapshot, entitlement, now)
            if window is not None:
                ends.append(window.end if snapshot.ends_at is None else min(window.end, snapshot.ends_at))
    return min(ends, default=None)
