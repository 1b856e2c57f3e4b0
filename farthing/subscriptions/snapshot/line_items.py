"""Line items of subscriptions with their prices and commitments, as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache

from sqlalchemy import bindparam, or_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import Status
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.rating.commitments.windows import TimeOfDayBucket, WindowTerms
from farthing.rating.pricing.price import RatedPrice
from farthing.storage.documents import decode_all
from farthing.storage.queries.kept import KeptRows, KeptValues, answer_to, kept_rows, kept_values
from farthing.storage.queries.rows import in_given_array
from farthing.subscriptions.changes.planned_terms import StoredTimeBucket
from farthing.subscriptions.enums import CommitmentType, LineItemOwner
from farthing.subscriptions.snapshot.values import ItemCommitment, LineItemSnapshot, PriceUnitTerms
from farthing.subscriptions.tables import SubscriptionLineItem


async def load_line_items(
    session: AsyncSession, ids: Sequence[str], since: datetime | None
) -> dict[str, list[LineItemSnapshot]]:
    """The line items of subscriptions, by subscription id; only those that end after `since`, if it is given."""
    parameters = {"ids": list(ids)} if since is None else {"ids": list(ids), "since": since}
    rows = await answer_to(session, _items(ended=since is None).asked(**parameters))
    found: dict[str, list[LineItemSnapshot]] = defaultdict(list)
    if not rows:
        return found
    named = {row.price_id for row in rows} | {bucket.price_id for row in rows for bucket in time_buckets_of(row)}
    # many items share a price: each price travels once
    prices = {price.id: price for price in await answer_to(session, _prices().asked(ids=list(named)))}
    money = {price.id: rated(price) for price in prices.values()}
    for row in rows:
        price = prices[row.price_id]
        found[row.subscription_id].append(item_snapshot(row, price, prices, money[price.id]))
    return found


@cache
def _items(*, ended: bool) -> KeptValues[SubscriptionLineItem]:
    """The line items of the subscriptions `ids`; only those that end after `since`, unless `ended` ones are wanted."""
    item = SubscriptionLineItem
    conditions = [in_given_array(item.subscription_id, "ids"), item.status == Status.PUBLISHED]
    if not ended:
        conditions.append(or_(item.end_date.is_(None), item.end_date > bindparam("since")))
    return kept_values(item, *conditions, order=[item.subscription_id, item.start_date, item.id])


@cache
def _prices() -> KeptRows[Price]:
    return kept_rows(Price, in_given_array(Price.id, "ids"))


def item_snapshot(
    row: SubscriptionLineItem, price: Price, prices: dict[str, Price], money: RatedPrice | None = None
) -> LineItemSnapshot:
    """One line item and its price as a value; `prices` holds those of its time-of-day buckets.

    `money` is what the price charges, if the caller knows it.
    """
    money = money or rated(price)
    return LineItemSnapshot(
        id=row.id,
        subscription_id=row.subscription_id,
        customer_id=row.customer_id,
        entity_type=LineItemOwner(row.entity_type),
        entity_id=row.entity_id,
        plan_display_name=row.plan_display_name,
        display_name=row.display_name,
        price_id=row.price_id,
        price=money,
        price_type=row.price_type,
        min_quantity=price.min_quantity,
        group_id=price.group_id,
        meter_id=row.meter_id,
        meter_display_name=row.meter_display_name,
        quantity=row.quantity,
        currency=row.currency,
        billing_period=row.billing_period,
        billing_period_count=row.billing_period_count,
        cadence=row.invoice_cadence,
        start=row.start_date,
        end=row.end_date,
        phase_id=row.subscription_phase_id,
        addon_association_id=row.addon_association_id,
        replaces_id=row.replaces_id,
        counted_from=row.counted_from,
        commitment=_commitment(row, price),
        buckets=tuple(_bucket(bucket, prices[bucket.price_id]) for bucket in time_buckets_of(row)),
        metadata=dict(row.meta),
        price_unit=_price_unit(price),
    )


def _price_unit(price: Price) -> PriceUnitTerms | None:
    if price.price_unit_id is None or price.price_unit is None or price.conversion_rate is None:
        return None
    return PriceUnitTerms(price.price_unit_id, price.price_unit, price.conversion_rate)


def _commitment(row: SubscriptionLineItem, price: Price) -> ItemCommitment | None:
    factor = row.commitment_overage_factor or Decimal(1)
    if row.commitment_type is CommitmentType.AMOUNT:
        assert row.commitment_amount is not None, "the database promises an amount"
        terms = LineCommitment(row.commitment_amount, factor, row.commitment_true_up_enabled)
    elif row.commitment_type is CommitmentType.QUANTITY:
        assert row.commitment_quantity is not None, "the database promises a quantity"
        terms = LineCommitment.of_quantity(
            rated(price), row.commitment_quantity, factor, true_up=row.commitment_true_up_enabled
        )
    else:
        return None
    quantity = row.commitment_quantity if row.commitment_type is CommitmentType.QUANTITY else None
    return ItemCommitment(terms, row.commitment_windowed, row.commitment_duration, quantity)


def time_buckets_of(row: SubscriptionLineItem) -> list[StoredTimeBucket]:
    """The times of day with terms of their own that a line item keeps."""
    return decode_all(StoredTimeBucket, row.commitment_time_buckets)


def _bucket(stored: StoredTimeBucket, price: Price) -> TimeOfDayBucket:
    money, true_up = rated(price), stored.true_up_enabled
    if stored.commitment_type is CommitmentType.QUANTITY:
        terms = LineCommitment.of_quantity(money, stored.value, stored.factor, true_up=true_up)
    else:
        terms = LineCommitment(stored.value, stored.factor, true_up)
    return TimeOfDayBucket(stored.id, stored.start.minutes, stored.end.minutes, WindowTerms(money, terms))
