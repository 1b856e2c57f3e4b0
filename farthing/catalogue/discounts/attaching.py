"""Coupons on subscriptions: attaching one, and which of them discount an invoice.

Window, currency and limit are looked at when a coupon is attached and never again.
Rule: docs/rules/discounts-and-taxes.md#attaching-a-coupon
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.redeeming import coupons_by_id, redeem, refused
from farthing.catalogue.discounts.schemas import CouponAssociationFilter
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.queries.kept import KeptRows, KeptValues, answer_to, kept_rows, kept_values
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import in_array, in_given_array

SEARCHABLE = (
    "id",
    "coupon_id",
    "subscription_id",
    "subscription_line_item_id",
    "subscription_phase_id",
    "start_date",
    "end_date",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where and for how long a coupon is to discount: `[start, end)`, or as its cadence says when `end` is None.

    `after_periods(n)` is the moment n billing periods after `start`, by the subscription's anchor. `applied_invoices`
    counts the invoices, void ones aside, that the subscription already had the coupon on.
    """

    subscription_id: str
    currency: str
    start: datetime
    after_periods: Callable[[int], datetime]
    end: datetime | None = None
    line_item_id: str | None = None
    phase_id: str | None = None
    applied_invoices: int = 0
    metadata: Mapping[str, str] | None = None


async def attach(session: AsyncSession, coupon_id: str, to: Attachment, now: datetime) -> CouponAssociation:
    """Attach a coupon and count one redemption, under the coupon's lock.

    Raises NotFound; InvalidOperation with a code when it cannot be redeemed; ValidationFailed for an end that is not
    after the start.
    """
    (coupon,) = await coupons_by_id(session, [coupon_id], lock=True)
    redeem(coupon, to.currency, now)
    _check_cadence(coupon, to.applied_invoices)
    return await _associate(session, coupon, to)


async def take_over_attachment(session: AsyncSession, coupon_id: str, to: Attachment) -> CouponAssociation:
    """Store how another system has attached a coupon, which has counted the redemption. Raises NotFound, and
    ValidationFailed for an end that is not after the start."""
    (coupon,) = await coupons_by_id(session, [coupon_id], lock=True)
    return await _associate(session, coupon, to)


async def _associate(session: AsyncSession, coupon: CouponRow, to: Attachment) -> CouponAssociation:
    end = to.end if to.end is not None else _natural_end(coupon, to)
    if end is not None and end <= to.start:
        raise ValidationFailed.of("end_date", "must be after start_date")
    association = CouponAssociation(
        id=new_id(Kind.COUPON_ASSOCIATION),
        coupon_id=coupon.id,
        subscription_id=to.subscription_id,
        subscription_line_item_id=to.line_item_id,
        subscription_phase_id=to.phase_id,
        start_date=to.start,
        end_date=end,
        cut_at=to.end,
        meta=checked_metadata(to.metadata),
    )
    session.add(association)
    await session.flush()
    return association


def _check_cadence(coupon: CouponRow, applied_invoices: int) -> None:
    if coupon.cadence is CouponCadence.ONCE and applied_invoices >= 1:
        raise refused(coupon, "ONCE_CADENCE_VIOLATION", "The coupon has discounted this subscription already")
    if coupon.cadence is CouponCadence.REPEATED and applied_invoices >= (coupon.duration_in_periods or 0):
        raise refused(
            coupon, "REPEATED_CADENCE_LIMIT_REACHED", "The coupon has discounted this subscription for all its periods"
        )


def _natural_end(coupon: CouponRow, to: Attachment) -> datetime | None:
    """A second before the last period ends; people see it, but the periods are counted."""
    if coupon.duration_in_periods is None:
        return None
    return to.after_periods(coupon.duration_in_periods) - timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class AttachedCoupon:
    """A coupon, and the association that puts it on a subscription."""

    association: CouponAssociation
    coupon: CouponRow


async def attached_to(session: AsyncSession, subscription_ids: Collection[str]) -> dict[str, list[AttachedCoupon]]:
    """The coupons of each subscription, in the order in which they discount; which lines they reach is for the caller.

    An archived coupon runs on.
    """
    associations = await answer_to(session, _associations().asked(ids=list(subscription_ids)))
    found: dict[str, list[AttachedCoupon]] = {subscription_id: [] for subscription_id in subscription_ids}
    if not associations:
        return found
    # many subscriptions share a coupon: each coupon travels once
    asked = _coupons().asked(ids=list({association.coupon_id for association in associations}))
    coupons = {coupon.id: coupon for coupon in await answer_to(session, asked)}
    for association in associations:
        if association.coupon_id in coupons:
            found[association.subscription_id].append(AttachedCoupon(association, coupons[association.coupon_id]))
    return found


@cache
def _associations() -> KeptValues[CouponAssociation]:
    association = CouponAssociation
    return kept_values(
        association,
        in_given_array(association.subscription_id, "ids"),
        association.status == Status.PUBLISHED,
        order=[association.created_at, association.id],
    )


@cache
def _coupons() -> KeptRows[CouponRow]:
    return kept_rows(CouponRow, in_given_array(CouponRow.id, "ids"), CouponRow.status != Status.DELETED)


async def attached_during(
    session: AsyncSession, subscription_ids: Collection[str], period: Period
) -> dict[str, list[AttachedCoupon]]:
    """The coupons of each subscription whose dates, as people see them, overlap the period."""
    return {
        subscription_id: [
            coupon
            for coupon in attached
            if coupon.association.start_date < period.end
            and (coupon.association.end_date is None or coupon.association.end_date > period.start)
        ]
        for subscription_id, attached in (await attached_to(session, subscription_ids)).items()
    }


async def predecessors_of(session: AsyncSession, associations: Iterable[CouponAssociation]) -> dict[str, list[str]]:
    """The ids of each association and of those that it continues, by its id."""
    chains = {association.id: [association.id] for association in associations}
    behind = {
        association.id: association.continues_id for association in associations if association.continues_id is not None
    }
    while behind:
        for association_id, former in behind.items():
            chains[association_id].append(former)
        rows = await session.execute(
            select(CouponAssociation.id, CouponAssociation.continues_id).where(
                in_array(CouponAssociation.id, set(behind.values())), CouponAssociation.continues_id.is_not(None)
            )
        )
        further = {association_id: former for association_id, former in rows if former is not None}
        behind = {association_id: further[former] for association_id, former in behind.items() if former in further}
    return chains


async def search(
    session: AsyncSession, query: CouponAssociationFilter, now: datetime
) -> tuple[Sequence[CouponAssociation], int]:
    """One page of the associations that meet all of `query`, and how many there are."""
    table = CouponAssociation
    statement = select(table)
    for column, wanted in (
        (table.subscription_id, query.subscription_ids),
        (table.coupon_id, query.coupon_ids),
        (table.subscription_line_item_id, query.subscription_line_item_ids),
        (table.subscription_phase_id, query.subscription_phase_ids),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    start, end = query.period_start, query.period_end
    if start is None and end is None and query.active_only:
        statement = statement.where(table.start_date <= now, or_(table.end_date.is_(None), table.end_date > now))
    if start is not None:
        statement = statement.where(or_(table.end_date.is_(None), table.end_date > start))
    if end is not None:
        statement = statement.where(table.start_date < end)
    return await select_page(session, table, query, SEARCHABLE, statement)
