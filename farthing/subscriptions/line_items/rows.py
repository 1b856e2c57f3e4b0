"""Line items: which prices a subscription is charged, and the row each of them becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import MONTHS, BillingPeriod, InvoiceCadence
from farthing.calendar.windows import WindowSize
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices import lifecycle, versions
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core.enums import PriceType, Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import plain
from farthing.rating.pricing.quantity import default_quantity
from farthing.storage.documents import encode_all
from farthing.storage.queries.rows import find
from farthing.subscriptions.changes.planned_terms import StoredTimeBucket, StoredTimeOfDay
from farthing.subscriptions.enums import CommitmentType, LineItemOwner
from farthing.subscriptions.schemas.commitments import (
    CommitmentBucketRequest,
    LineItemCommitmentConfig,
    SubscriptionPriceCreateRequest,
    factor,
    money,
    quantity,
)
from farthing.subscriptions.schemas.requests import OverrideLineItemRequest
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

ONETIME_LASTS = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ItemOrigin:
    """Where a line item comes from: the plan, addon or subscription with this id and name."""

    owner: LineItemOwner
    id: str
    name: str
    association_id: str | None = None
    phase_id: str | None = None


async def prices_of(
    session: AsyncSession, owner: PriceEntityType, owner_id: str, subscription: Subscription, at: datetime
) -> list[Price]:
    """The owner's prices that a subscription is charged from `at` on, oldest first.

    A plan's: of its currency and its period and count, or once. An addon's: of its currency.
    Rule: docs/rules/subscriptions.md#price-selection
    """
    query = select(Price).where(
        Price.entity_type == owner,
        Price.entity_id == owner_id,
        Price.status == Status.PUBLISHED,
        Price.currency == subscription.currency,
        or_(Price.end_date.is_(None), Price.end_date > at),
    )
    if owner is PriceEntityType.PLAN:
        query = query.where(
            or_(
                Price.billing_period == BillingPeriod.ONETIME,
                (Price.billing_period == subscription.billing_period)
                & (Price.billing_period_count == subscription.billing_period_count),
            )
        )
    return list((await session.scalars(query.order_by(Price.sequence))).all())


async def meters_of(session: AsyncSession, prices: Iterable[Price]) -> dict[str, MeterRow]:
    """The meters behind usage prices, by id."""
    ids = {price.meter_id for price in prices if price.meter_id}
    if not ids:
        return {}
    return {meter.id: meter for meter in await session.scalars(select(MeterRow).where(MeterRow.id.in_(ids)))}


def require_fitting(price: Price, subscription: Subscription) -> None:
    """Refuse a price of another currency, or of a period that is no whole multiple of the subscription's.

    Raises ValidationFailed.
    Rule: docs/rules/subscriptions.md#price-selection
    """
    if price.currency != subscription.currency:
        raise ValidationFailed.of("price_id", f"is in {price.currency}, the subscription in {subscription.currency}")
    if not fits(price.billing_period, price.billing_period_count, subscription):
        raise ValidationFailed.of(
            "billing_period",
            f"of price {price.id} ({price.billing_period_count} {price.billing_period.value}) must be that of the "
            f"subscription ({subscription.billing_period_count} {subscription.billing_period.value}) "
            "or a whole multiple of it",
        )


def fits(period: BillingPeriod, count: int, subscription: Subscription) -> bool:
    """Whether something billed in such periods can be on the subscription."""
    if period is BillingPeriod.ONETIME:
        return True
    if (period, count) == (subscription.billing_period, subscription.billing_period_count):
        return True
    if period not in MONTHS or subscription.billing_period not in MONTHS:
        return False
    own = MONTHS[subscription.billing_period] * subscription.billing_period_count
    return MONTHS[period] * count % own == 0


def line_item(
    subscription: Subscription,
    price: Price,
    origin: ItemOrigin,
    meters: Mapping[str, MeterRow],
    *,
    start: datetime,
    end: datetime | None,
    given: Decimal | None = None,
    display_name: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> SubscriptionLineItem:
    """The row of one price, not yet in the session; it starts with the price at the earliest.

    Raises ValidationFailed for a price that does not fit.
    """
    require_fitting(price, subscription)
    meter = meters.get(price.meter_id or "")
    begins = max(start, price.start_date)
    ends = end
    if price.billing_period is BillingPeriod.ONETIME:
        if price.invoice_cadence is not InvoiceCadence.ADVANCE:
            raise ValidationFailed.of("invoice_cadence", "must be ADVANCE for a price that is charged once")
        ends = begins + ONETIME_LASTS
    elif price.end_date is not None:
        ends = min(at for at in (ends, price.end_date) if at is not None)
    if ends is not None and ends < begins:
        ends = begins
    usage = price.type is PriceType.USAGE
    return SubscriptionLineItem(
        id=new_id(Kind.SUBSCRIPTION_LINE_ITEM),
        subscription_id=subscription.id,
        customer_id=subscription.customer_id,
        entity_type=origin.owner,
        entity_id=origin.id,
        plan_display_name=origin.name,
        price_id=price.id,
        price_type=price.type,
        meter_id=price.meter_id,
        meter_display_name=meter.name if meter else "",
        price_unit_id=price.price_unit_id,
        price_unit=price.price_unit,
        display_name=display_name or price.display_name or (meter.name if meter else origin.name),
        quantity=default_quantity(price.type, given, price.min_quantity),
        currency=price.currency,
        billing_period=price.billing_period,
        billing_period_count=price.billing_period_count,
        invoice_cadence=InvoiceCadence.ARREAR if usage else price.invoice_cadence,
        start_date=begins,
        end_date=ends,
        subscription_phase_id=origin.phase_id,
        addon_association_id=origin.association_id,
        meta=dict(metadata or {}),
    )


def successor(item: SubscriptionLineItem, at: datetime) -> SubscriptionLineItem:
    """The next version of a locked item, from `at` to the item's own end, which `at` now is. Not yet in the session."""
    copied = {
        column.key: getattr(item, column.key)
        for column in SubscriptionLineItem.__mapper__.column_attrs
        if column.key not in _OWN
    }
    version = SubscriptionLineItem(
        **copied,
        id=new_id(Kind.SUBSCRIPTION_LINE_ITEM),
        start_date=at,
        end_date=item.end_date,
        replaces_id=item.id,
        counted_from=item.counted_from or item.start_date,
    )
    item.end_date = at
    return version


_OWN = {
    "id",
    "start_date",
    "end_date",
    "replaces_id",
    "counted_from",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
}


async def overridden(
    session: AsyncSession,
    subscription: Subscription,
    prices: Sequence[Price],
    overrides: Sequence[OverrideLineItemRequest] | None,
    start: datetime,
) -> list[tuple[Price, Price, Decimal | None]]:
    """Each price with what the subscription is charged instead, and the quantity given; prices made where needed.

    Raises ValidationFailed for an override of a price that is not among `prices`, and for a quantity of usage.
    """
    wanted = {override.price_id: override for override in overrides or ()}
    unknown = set(wanted) - {price.id for price in prices}
    if unknown:
        raise ValidationFailed.of("override_line_items", f"'{min(unknown)}' is not a price in scope")
    found = []
    for price in prices:
        override = wanted.get(price.id)
        charged, given = price, None
        if override is not None:
            given = override.quantity
            if given and price.type is PriceType.USAGE:
                raise ValidationFailed.of("override_line_items", f"the quantity of usage price {price.id} is metered")
            if override.changes_money:
                charged = await versions.override(
                    session, price, subscription.id, override, max(start, price.start_date)
                )
                charged.display_name = price.display_name
        found.append((price, charged, given))
    return found


async def own_price(
    session: AsyncSession,
    subscription: Subscription,
    request: SubscriptionPriceCreateRequest,
    now: datetime,
    start: datetime,
) -> Price:
    """Make a price of this subscription alone. Raises as the catalogue does."""
    fields = {name: getattr(request, name) for name in request.__struct_fields__ if name not in _OF_SUBSCRIPTION}
    fields["start_date"] = request.start_date or start
    made = CreatePriceRequest(
        entity_type=PriceEntityType.SUBSCRIPTION, entity_id=subscription.id, currency=subscription.currency, **fields
    )
    return await lifecycle.create(session, made, now)


_OF_SUBSCRIPTION = {"currency", "entity_type", "entity_id"}


async def commit_item(
    session: AsyncSession,
    subscription: Subscription,
    item: SubscriptionLineItem,
    config: LineItemCommitmentConfig,
    meters: Mapping[str, MeterRow],
    now: datetime,
) -> None:
    """Give a line item its commitment. Raises ValidationFailed.

    Rule: docs/rules/commitments.md#line-item-level
    Rule: docs/rules/commitments.md#windowed
    """
    if item.price_type is not PriceType.USAGE:
        raise ValidationFailed.of("line_item_commitments", f"price {item.price_id} is not a usage price")
    if subscription.commitment_amount:
        raise ValidationFailed.of("line_item_commitments", "cannot be combined with a commitment of the subscription")
    kind = _kind(config)
    item.commitment_type = kind
    item.commitment_amount = item.commitment_quantity = None
    if kind is CommitmentType.AMOUNT and config.commitment_amount is not None:
        item.commitment_amount = money("commitment_amount", config.commitment_amount)
    if kind is CommitmentType.QUANTITY and config.commitment_quantity is not None:
        item.commitment_quantity = quantity("commitment_quantity", config.commitment_quantity)
    if kind is not None and config.overage_factor is None:
        raise ValidationFailed.of("overage_factor", "is required with a commitment")
    item.commitment_overage_factor = (
        None if config.overage_factor is None else factor("overage_factor", config.overage_factor)
    )
    item.commitment_true_up_enabled = bool(config.enable_true_up)
    item.commitment_windowed = bool(config.is_window_commitment)
    item.commitment_duration = config.commitment_duration
    if item.commitment_windowed and meters[item.meter_id or ""].bucket_size is None:
        raise ValidationFailed.of("is_window_commitment", "needs a meter with a bucket size")
    meter = meters.get(item.meter_id or "")
    _demand_aligned(config.commitment_time_buckets or (), meter.bucket_size if meter else None)
    item.commitment_time_buckets = await _buckets(session, subscription, item, config, now)


def _kind(config: LineItemCommitmentConfig) -> CommitmentType | None:
    given = [config.commitment_amount is not None, config.commitment_quantity is not None]
    if all(given):
        raise ValidationFailed.of("commitment_amount", "and commitment_quantity cannot both be given")
    if not any(given):
        if config.commitment_time_buckets:
            return None
        raise ValidationFailed.of("commitment_amount", "or commitment_quantity is required")
    inferred = CommitmentType.AMOUNT if given[0] else CommitmentType.QUANTITY
    if config.commitment_type not in {None, inferred}:
        raise ValidationFailed.of("commitment_type", f"must be {inferred.value}, as what is given")
    return inferred


async def _buckets(
    session: AsyncSession,
    subscription: Subscription,
    item: SubscriptionLineItem,
    config: LineItemCommitmentConfig,
    now: datetime,
) -> list[Any] | None:
    asked = config.commitment_time_buckets
    if not asked:
        return None
    if not item.commitment_windowed:
        raise ValidationFailed.of("commitment_time_buckets", "need is_window_commitment")
    if item.commitment_duration is not None:
        raise ValidationFailed.of("commitment_time_buckets", "cannot be combined with commitment_duration")
    _demand_apart(asked)
    stored: list[StoredTimeBucket] = []
    for bucket in asked:
        if bucket.price is not None:
            price_id = (await own_price(session, subscription, bucket.price, now, item.start_date)).id
        else:
            price_id = (await find(session, Price, bucket.price_id)).id if bucket.price_id else item.price_id
        stored.append(
            StoredTimeBucket(
                id=bucket.id or new_id(Kind.COMMITMENT_BUCKET),
                start=StoredTimeOfDay(bucket.start.hour, bucket.start.minute),
                end=StoredTimeOfDay(bucket.end.hour, bucket.end.minute),
                price_id=price_id,
                commitment_type=bucket.commitment_type,
                commitment_value=plain(bucket.commitment_value),
                overage_factor=plain(bucket.overage_factor or Decimal(1)),
                true_up_enabled=bool(bucket.true_up_enabled),
            )
        )
    return encode_all(stored)


def _demand_aligned(buckets: Sequence[CommitmentBucketRequest], window: WindowSize | None) -> None:
    """Windows lie in a time-of-day bucket whole or not at all. Raises ValidationFailed."""
    for bucket in buckets:
        minutes = _WINDOW_MINUTES.get(window) if window is not None else None
        if minutes is None:
            raise ValidationFailed.of("commitment_time_buckets", "need a meter with windows of at most a day")
        if bucket.start.minutes % minutes or bucket.end.minutes % minutes:
            raise ValidationFailed.of("commitment_time_buckets", f"must begin and end on windows of {minutes} minutes")


_WINDOW_MINUTES = {
    WindowSize.MINUTE: 1,
    WindowSize.QUARTER_HOUR: 15,
    WindowSize.HALF_HOUR: 30,
    WindowSize.HOUR: 60,
    WindowSize.THREE_HOURS: 180,
    WindowSize.SIX_HOURS: 360,
    WindowSize.TWELVE_HOURS: 720,
    WindowSize.DAY: 1440,
}


def _demand_apart(buckets: Sequence[CommitmentBucketRequest]) -> None:
    named = [bucket.id for bucket in buckets if bucket.id]
    if len(named) > len(set(named)):
        raise ValidationFailed.of("commitment_time_buckets", "must have ids that differ")
    taken: set[int] = set()
    for bucket in buckets:
        start, end = bucket.start.minutes, bucket.end.minutes
        minutes = set(range(start, end)) if start < end else {*range(start, 24 * 60), *range(end)}
        if minutes & taken:
            raise ValidationFailed.of("commitment_time_buckets", "must not overlap")
        taken |= minutes
