"""Subscriptions and their parts as they travel, each kind loaded in one query, however many subscriptions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.answers.plans import plan_answers
from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.answers.schemas import AddonResponse, PlanResponse, PriceResponse
from farthing.catalogue.discounts.schemas import CouponAssociationResponse, CouponResponse
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.answers import meter_answer, meters_by_id
from farthing.catalogue.products.tables import MeterRow
from farthing.core.encoding.wire import as_wire, json_number
from farthing.core.enums import Status
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.storage.documents import decode_all
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import by_id
from farthing.subscriptions.changes.planned_terms import (
    PlannedReplacement,
    StoredTimeBucket,
    planned_change,
    shown_configuration,
)
from farthing.subscriptions.changes.tables import SubscriptionPause, SubscriptionSchedule
from farthing.subscriptions.enums import PauseStatus, ScheduleStatus, ScheduleType
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.reads.entitlements import entitlements_of
from farthing.subscriptions.schemas.responses import (
    AddonAssociationResponse,
    ConfigurationDetails,
    EntityPolicies,
    ExecutionDetails,
    LineItemMeterResponse,
    PlanChangeScheduleDetails,
    PlanChangeScheduleResult,
    SubscriptionLineItemResponse,
    SubscriptionPauseResponse,
    SubscriptionPhaseResponse,
    SubscriptionResponse,
    SubscriptionResponseV2,
    SubscriptionScheduleResponse,
    TimeOfDayBucketResponse,
    TimeOfDayResponse,
)
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem, SubscriptionPhase

Wanted = Mapping[str, set[str]]

EXPANDABLE: Final = {
    "plan": frozenset({"prices"}),
    "customer": frozenset[str](),
    "subscription_line_items": frozenset({"prices", "meters"}),
    "line_items": frozenset({"prices", "meters"}),
    "prices": frozenset({"meters"}),
    "meters": frozenset[str](),
    "schedule": frozenset[str](),
    "coupon_associations": frozenset({"coupon"}),
    "coupon": frozenset[str](),
    "entitlements": frozenset[str](),
}
WHOLE: Final[Wanted] = {
    "plan": set(),
    "customer": set(),
    "subscription_line_items": {"prices"},
    "coupon_associations": {"coupon"},
    "phases": set(),
    "credit_grants": set(),
    "pauses": set(),
}
"""What a single subscription is answered with."""
ITEMS_EXPANDABLE: Final = {
    "prices": frozenset({"meters", "priceunit", "plan", "addons", "groups"}),
    "subscription_line_items": frozenset({"prices"}),
    "meters": frozenset[str](),
}

Row = TypeVar("Row", SubscriptionPhase, SubscriptionPause, SubscriptionSchedule)


async def subscription_answers(
    session: AsyncSession, rows: Sequence[Subscription], wanted: Wanted, now: datetime
) -> list[SubscriptionResponse]:
    """Subscriptions with what is `wanted` of `EXPANDABLE` and `WHOLE`."""
    parts = await _parts(session, rows, wanted, now)
    return [SubscriptionResponse.of(row, **_own(row), **parts[row.id]) for row in rows]


async def subscription_answer(
    session: AsyncSession, row: Subscription, now: datetime, **given: Any
) -> SubscriptionResponse:
    """One subscription whole; `given` holds what a layer above adds, such as `latest_invoice`."""
    parts = (await _parts(session, [row], WHOLE, now))[row.id]
    return SubscriptionResponse.of(row, **_own(row), **{**parts, **given})


async def subscription_answer_v2(
    session: AsyncSession, row: Subscription, wanted: Wanted, now: datetime
) -> SubscriptionResponseV2:
    """One subscription with what is `wanted` of `EXPANDABLE`."""
    parts = (await _parts(session, [row], wanted, now))[row.id]
    newest = await session.scalar(
        select(func.max(Price.sequence)).where(
            Price.entity_type == PriceEntityType.PLAN,
            Price.entity_id == row.plan_id,
            Price.status == Status.PUBLISHED,
            # prices that other subscriptions of the plan are charged by are no news to this one
            Price.currency == row.currency,
            or_(
                Price.billing_period == BillingPeriod.ONETIME,
                (Price.billing_period == row.billing_period) & (Price.billing_period_count == row.billing_period_count),
            ),
        )
    )
    if "schedule" in wanted:
        found = await _of(session, SubscriptionSchedule, [row.id], SubscriptionSchedule.scheduled_at)
        waiting = [schedule for schedule in found[row.id] if schedule.schedule_status is ScheduleStatus.PENDING]
        parts["schedule"] = [schedule_answer(schedule, now) for schedule in waiting]
    return SubscriptionResponseV2.of(
        row, **_own(row), **parts, plan_prices_out_of_sync=row.synced_price_sequence < (newest or 0)
    )


def _own(row: Subscription) -> dict[str, Any]:
    """Fields that say nothing are left out."""
    return {
        "lookup_key": row.lookup_key or None,
        "synced_price_sequence": row.synced_price_sequence or None,
    }


async def _parts(
    session: AsyncSession, rows: Sequence[Subscription], wanted: Wanted, now: datetime
) -> dict[str, dict[str, Any]]:
    """The parts of each subscription by their names on the wire, by subscription id."""
    parts: dict[str, dict[str, Any]] = {row.id: {} for row in rows}
    if not rows:
        return parts
    found = await _relations(session, rows, wanted, now)
    found |= await _belongings(session, rows, wanted, found.get("line_items", {}))
    for name, by_owner in found.items():
        for owner, value in by_owner.items():
            parts[owner][name] = value or None
    return parts


async def _relations(
    session: AsyncSession, rows: Sequence[Subscription], wanted: Wanted, now: datetime
) -> dict[str, Mapping[str, Any]]:
    """What subscriptions point to, and their line items."""
    found: dict[str, Mapping[str, Any]] = {}
    if "customer" in wanted:
        customers = await _by_ids(session, Customer, {row.customer_id for row in rows})
        found["customer"] = {row.id: CustomerResponse.of(customers[row.customer_id]) for row in rows}
    if "plan" in wanted:
        plans = await _plans(session, {row.plan_id for row in rows}, wanted["plan"], now)
        found["plan"] = {row.id: plans[row.plan_id] for row in rows}
    if wanted.keys() & {"subscription_line_items", "line_items", "prices", "meters"}:
        nested = wanted.get("subscription_line_items", set()) | wanted.get("line_items", set())
        found["line_items"] = await _open_items(session, rows, nested | (wanted.keys() & {"prices", "meters"}))
    return found


async def _belongings(
    session: AsyncSession, rows: Sequence[Subscription], wanted: Wanted, items: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """What belongs to subscriptions besides their line items."""
    ids = [row.id for row in rows]
    found: dict[str, Mapping[str, Any]] = {}
    if wanted.keys() & {"coupon_associations", "coupon"}:
        found["coupon_associations"] = await _coupons(session, ids, items)
    if "phases" in wanted:
        phases = await _of(session, SubscriptionPhase, ids, SubscriptionPhase.start_date)
        found["phases"] = {
            owner: [SubscriptionPhaseResponse.of(phase) for phase in owned] for owner, owned in phases.items()
        }
    paused = [row.id for row in rows if row.pause_status is not PauseStatus.NONE]
    if "pauses" in wanted and paused:
        found["pauses"] = await pauses_of(session, paused)
    if "credit_grants" in wanted:
        found["credit_grants"] = await ports_of(session, SubscriptionPorts).load_credit_grants(session, ids)
    if "entitlements" in wanted:
        found["entitlements"] = await entitlements_of(session, ids)
    return found


async def _plans(session: AsyncSession, ids: set[str], nested: set[str], now: datetime) -> dict[str, PlanResponse]:
    rows = (await session.scalars(select(Plan).where(Plan.id.in_(ids)))).all()
    wanted: dict[str, set[str]] = {"prices": {"meters"}} if "prices" in nested else {}
    return {answer.id: answer for answer in await plan_answers(session, rows, wanted, now)}


async def _by_ids(session: AsyncSession, table: type[Customer], ids: set[str]) -> dict[str, Customer]:
    return by_id((await session.scalars(select(table).where(table.id.in_(ids)))).all())


async def _of(session: AsyncSession, table: type[Row], ids: Sequence[str], order: Any) -> dict[str, list[Row]]:
    """The published rows of each subscription that has any."""
    found: dict[str, list[Row]] = defaultdict(list)
    query = select(table).where(table.subscription_id.in_(ids), table.status == Status.PUBLISHED).order_by(order)
    for row in await session.scalars(query):
        found[row.subscription_id].append(row)
    return found


async def pauses_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[SubscriptionPauseResponse]]:
    """The pauses of each subscription that has any, earliest first."""
    found = await _of(session, SubscriptionPause, ids, SubscriptionPause.pause_start)
    return {id: [SubscriptionPauseResponse.of(pause) for pause in pauses] for id, pauses in found.items()}  # noqa: A001


async def _open_items(
    session: AsyncSession, rows: Sequence[Subscription], nested: set[str]
) -> dict[str, list[SubscriptionLineItemResponse]]:
    """The items of each subscription that have not ended before its open period."""
    item = SubscriptionLineItem
    found = (
        await session.scalars(
            select(item)
            .join(Subscription, Subscription.id == item.subscription_id)
            .where(
                item.subscription_id.in_([row.id for row in rows]),
                item.status == Status.PUBLISHED,
                or_(item.end_date.is_(None), item.end_date >= Subscription.current_period_start),
            )
            .order_by(item.start_date, item.id)
        )
    ).all()
    by_owner: dict[str, list[SubscriptionLineItemResponse]] = defaultdict(list)
    for answer in await item_answers(session, found, nested):
        by_owner[answer.subscription_id].append(answer)
    return by_owner


async def item_answers(
    session: AsyncSession, items: Sequence[SubscriptionLineItem], wanted: set[str]
) -> list[SubscriptionLineItemResponse]:
    """Line items with their `prices` (and these with `meters`, `priceunit`, `plan`, ...) and `meters` if asked for."""
    prices: dict[str, PriceResponse] = {}
    if "prices" in wanted:
        rows = (await session.scalars(select(Price).where(Price.id.in_({item.price_id for item in items})))).all()
        answers = await price_answers(session, rows, frozenset(wanted - {"prices"}))
        prices = {answer.id: answer for answer in answers}
    meters = await meters_by_id(session, (item.meter_id for item in items)) if "meters" in wanted else {}
    return [
        SubscriptionLineItemResponse.of(
            item,
            meter_id=item.meter_id or "",
            end_date=as_wire(item.end_date),
            price_unit_id=item.price_unit_id,
            price_unit=item.price_unit,
            commitment_time_buckets=_buckets(item.commitment_time_buckets),
            price=prices.get(item.price_id),
            meter=_meter(meters[item.meter_id]) if item.meter_id in meters else None,
        )
        for item in items
    ]


def _meter(meter: MeterRow) -> LineItemMeterResponse:
    shown = meter_answer(meter)
    return LineItemMeterResponse.of(meter, aggregation=shown.aggregation, filters=shown.filters)


async def item_answer(session: AsyncSession, item: SubscriptionLineItem) -> SubscriptionLineItemResponse:
    """One line item with its price."""
    return (await item_answers(session, [item], {"prices"}))[0]


def _buckets(stored: list[Any] | None) -> list[TimeOfDayBucketResponse] | None:
    if stored is None:
        return None
    return [
        TimeOfDayBucketResponse(
            id=bucket.id,
            start=TimeOfDayResponse(hour=bucket.start.hour, minute=bucket.start.minute),
            end=TimeOfDayResponse(hour=bucket.end.hour, minute=bucket.end.minute),
            price_id=bucket.price_id,
            commitment_type=bucket.commitment_type,
            commitment_value=bucket.commitment_value,
            # a number on the wire, where clients expect one
            overage_factor=json_number(bucket.factor),
            true_up_enabled=bucket.true_up_enabled,
        )
        for bucket in decode_all(StoredTimeBucket, stored)
    ]


async def _coupons(
    session: AsyncSession, ids: Sequence[str], items: Mapping[str, Sequence[SubscriptionLineItemResponse]]
) -> dict[str, list[CouponAssociationResponse]]:
    """The coupons of each subscription; those of a line item with it, of `items` where they are shown already."""
    pairs = (
        await session.execute(
            select(CouponAssociation, CouponRow)
            .join(CouponRow, CouponRow.id == CouponAssociation.coupon_id)
            .where(CouponAssociation.subscription_id.in_(ids), CouponAssociation.status == Status.PUBLISHED)
            .order_by(CouponAssociation.created_at, CouponAssociation.id)
        )
    ).all()
    known = {item.id: item for owned in items.values() for item in owned}
    unknown = {
        association.subscription_line_item_id for association, _ in pairs if association.subscription_line_item_id
    } - known.keys()
    if unknown:
        table = SubscriptionLineItem
        rows = (await session.scalars(select(table).where(table.id.in_(unknown)))).all()
        known |= {item.id: item for item in await item_answers(session, rows, set())}
    found: dict[str, list[CouponAssociationResponse]] = defaultdict(list)
    for association, coupon in pairs:
        item = known.get(association.subscription_line_item_id or "")
        found[association.subscription_id].append(
            CouponAssociationResponse.of(
                association,
                coupon=CouponResponse.of_coupon(coupon),
                subscription_line_item=None if item is None else msgspec.to_builtins(item),
            )
        )
    return found


def schedule_answer(schedule: SubscriptionSchedule, now: datetime) -> SubscriptionScheduleResponse:
    """A schedule as it stands at `now`."""
    changes_plan = schedule.schedule_type is ScheduleType.PLAN_CHANGE
    result = schedule.execution_result
    pending = schedule.schedule_status is ScheduleStatus.PENDING
    details = None
    if changes_plan:
        planned = planned_change(schedule.configuration)
        policies = None if isinstance(planned, PlannedReplacement) else planned.entity_policies.addons
        details = ConfigurationDetails(
            plan_change=PlanChangeScheduleDetails(
                target_plan_id=planned.target_plan_id,
                entity_policies=None if policies is None else EntityPolicies(addons=msgspec.to_builtins(policies)),
            )
        )
    done = None
    if changes_plan and result is not None:
        done = ExecutionDetails(
            plan_change=PlanChangeScheduleResult(
                change_type=result.get("change_type"),
                effective_date=result.get("effective_date"),
                from_plan_id=result.get("from_plan_id"),
                to_plan_id=result.get("to_plan_id"),
                previous_subscription_id=result.get("old_subscription_id"),
                subscription_id=result.get("new_subscription_id") or result.get("subscription_id"),
            )
        )
    return SubscriptionScheduleResponse.of(
        schedule,
        status=schedule.schedule_status,
        configuration=shown_configuration(schedule.configuration),
        metadata=dict(schedule.meta),
        days_until_execution=(schedule.scheduled_at - now) // timedelta(days=1),
        can_be_cancelled=pending and now < schedule.scheduled_at,
        error_message=schedule.error_message or None,
        configuration_details=details,
        execution_details=done,
    )


async def association_answers(
    session: AsyncSession, associations: Sequence[AddonAssociation]
) -> list[AddonAssociationResponse]:
    """Addon associations with their addons."""
    ids = {association.addon_id for association in associations}
    addons = by_id((await session.scalars(select(Addon).where(Addon.id.in_(ids)))).all()) if ids else {}
    return [
        AddonAssociationResponse.of(
            association,
            entity_id=association.subscription_id,
            entity_type="subscription",
            cancellation_reason=association.cancellation_reason or None,
            addon=AddonResponse.of(addons[association.addon_id]) if association.addon_id in addons else None,
        )
        for association in associations
    ]
