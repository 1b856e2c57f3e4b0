"""How a coupon comes to be, is found, renamed and archived."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.schemas import CouponFilter, CreateCouponRequest, UpdateCouponRequest, stored_code
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.fields import require_published
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, NotFound
from farthing.core.ids import Kind, new_id
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = (
    "id",
    "name",
    "coupon_code",
    "type",
    "cadence",
    "currency",
    "amount_off",
    "percentage_off",
    "redeem_after",
    "redeem_before",
    "max_redemptions",
    "total_redemptions",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, request: CreateCouponRequest) -> CouponRow:
    """Insert a coupon. Raises AlreadyExists if a published coupon has its code."""
    coupon = CouponRow(
        id=new_id(Kind.COUPON),
        name=request.name,
        type=request.type,
        cadence=request.cadence,
        amount_off=request.amount_off,
        percentage_off=request.percentage_off,
        currency=request.currency,
        coupon_code=request.coupon_code,
        duration_in_periods=request.duration_in_periods,
        redeem_after=request.redeem_after,
        redeem_before=request.redeem_before,
        max_redemptions=request.max_redemptions,
        total_redemptions=0,
        rules=request.rules,
        meta=request.metadata or {},
    )
    code = request.coupon_code
    async with unique(
        session, uq_coupons_code=AlreadyExists("A coupon with this code already exists", {"coupon_code": code})
    ):
        session.add(coupon)
    return coupon


async def by_code(session: AsyncSession, code: str) -> CouponRow:
    """The published coupon with this code, whatever its case. Raises NotFound."""
    query = select(CouponRow).where(CouponRow.coupon_code == stored_code(code), CouponRow.status == Status.PUBLISHED)
    coupon = (await session.scalars(query)).one_or_none()
    if coupon is None:
        raise NotFound(f"Coupon with code {code} was not found", {"coupon_code": code})
    return coupon


async def search(session: AsyncSession, query: CouponFilter) -> tuple[Sequence[CouponRow], int]:
    """One page of the coupons that meet all of `query`, and how many there are."""
    statement = select(CouponRow)
    if query.coupon_ids:
        statement = statement.where(CouponRow.id.in_(query.coupon_ids))
    if query.coupon_codes:
        statement = statement.where(CouponRow.coupon_code.in_([stored_code(code) for code in query.coupon_codes]))
    return await select_page(session, CouponRow, query, SEARCHABLE, statement)


async def update(session: AsyncSession, coupon_id: str, request: UpdateCouponRequest) -> CouponRow:
    """Rename a coupon or replace its metadata. Raises NotFound, and InvalidOperation for an archived one."""
    coupon = await _published(session, coupon_id)
    if request.name is not None:
        coupon.name = request.name
    if request.metadata is not None:
        coupon.meta = request.metadata
    await session.flush()
    return coupon


async def archive(session: AsyncSession, coupon_id: str) -> None:
    """Let nobody redeem a coupon any more, and free its code; where it is attached it runs on.

    Raises NotFound, and InvalidOperation for an archived coupon.
    """
    coupon = await _published(session, coupon_id)
    coupon.status = Status.ARCHIVED


async def _published(session: AsyncSession, coupon_id: str) -> CouponRow:
    coupon = await lock_row(session, CouponRow, coupon_id)
    require_published(coupon)
    return coupon
