"""Whether a coupon may be used now, and counting that it was.

The one place where window, currency and limit are checked: when a coupon is put on a one-off invoice, and when it is
attached to a subscription.
Rule: docs/rules/discounts-and-taxes.md#redeeming-a-coupon
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.tables import CouponRow
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.rating.totals import discounts as rating
from farthing.storage.queries.rows import not_found


def refused(coupon: CouponRow, code: str, message: str, **details: Any) -> InvalidOperation:
    """The refusal of a coupon: `details.code` is one of the codes clients know, such as COUPON_EXPIRED."""
    return InvalidOperation(message, {"code": code, "coupon_id": coupon.id, **details})


def check_redeemable(coupon: CouponRow, currency: str, now: datetime) -> None:
    """Raise InvalidOperation unless `coupon` can be redeemed at `now` for something billed in `currency`.

    Both ends of the window are included. Checks run in the order of the rule; the first that fails is told.
    """
    if coupon.status != Status.PUBLISHED:
        raise refused(coupon, "COUPON_NOT_PUBLISHED", "The coupon is not published", status=coupon.status.value)
    if coupon.redeem_after is not None and now < coupon.redeem_after:
        after = instant(coupon.redeem_after)
        raise refused(coupon, "COUPON_NOT_ACTIVE", "The coupon cannot be redeemed yet", redeem_after=after)
    if coupon.redeem_before is not None and now > coupon.redeem_before:
        before = instant(coupon.redeem_before)
        raise refused(coupon, "COUPON_EXPIRED", "The coupon can no longer be redeemed", redeem_before=before)
    if coupon.currency is not None and coupon.currency != currency:
        message = f"The coupon takes off {coupon.currency} and cannot discount {currency}"
        raise refused(coupon, "CURRENCY_MISMATCH", message, expected=coupon.currency, given=currency)
    if coupon.max_redemptions is not None and coupon.total_redemptions >= coupon.max_redemptions:
        limit = coupon.max_redemptions
        raise refused(coupon, "REDEMPTION_LIMIT_REACHED", "The coupon is used up", max_redemptions=limit)


def redeem(coupon: CouponRow, currency: str, now: datetime) -> None:
    """Count one redemption of a coupon that the caller holds locked. Raises InvalidOperation."""
    check_redeemable(coupon, currency, now)
    coupon.total_redemptions += 1


async def coupons_by_id(session: AsyncSession, ids: Sequence[str], *, lock: bool = False) -> list[CouponRow]:
    """The coupons with these ids, archived ones included, in the order asked for. Raises NotFound for an unknown id.

    Locks are taken in order of id, so that two callers never wait for each other.
    """
    query = (
        select(CouponRow).where(CouponRow.id.in_(set(ids)), CouponRow.status != Status.DELETED).order_by(CouponRow.id)
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    found = {coupon.id: coupon for coupon in await session.scalars(query)}
    for wanted in ids:
        if wanted not in found:
            raise not_found(CouponRow, wanted)
    return [found[wanted] for wanted in ids]


async def redeemable_coupons(
    session: AsyncSession, ids: Sequence[str], currency: str, now: datetime
) -> list[CouponRow]:
    """The coupons in request order, checked and not counted, as previews need. Raises NotFound, InvalidOperation."""
    coupons = await coupons_by_id(session, ids)
    for coupon in coupons:
        check_redeemable(coupon, currency, now)
    return coupons


async def coupons_for(session: AsyncSession, ids: Sequence[str], currency: str, now: datetime) -> list[CouponRow]:
    """The coupons in request order, each locked, checked and counted once per mention.

    Raises NotFound for an unknown coupon and InvalidOperation for one that cannot be redeemed now; nothing is counted
    then, because the transaction fails.
    """
    coupons = await coupons_by_id(session, ids, lock=True)
    for coupon in coupons:
        redeem(coupon, currency, now)
    await session.flush()
    return coupons


def discount_of(coupon: CouponRow, target: str | None = None) -> rating.Coupon:
    """The coupon as rating computes with it; `target` is the subscription line item or price it is confined to."""
    off = coupon.amount_off if coupon.type is rating.CouponType.FIXED else coupon.percentage_off
    assert off is not None, "the table's check gives every coupon a worth of its type"
    return rating.Coupon(coupon.id, coupon.type, off, target)
