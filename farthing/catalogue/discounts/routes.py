"""Endpoints of coupons and their associations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.catalogue.discounts import attaching, coupons
from farthing.catalogue.discounts.redeeming import coupons_by_id
from farthing.catalogue.discounts.schemas import (
    CouponAssociationFilter,
    CouponAssociationResponse,
    CouponFilter,
    CouponResponse,
    CreateCouponRequest,
    ListCouponAssociationsResponse,
    ListCouponsResponse,
    UpdateCouponRequest,
)
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.ports import CataloguePorts
from farthing.core.clock import Clock
from farthing.core.encoding.wire import Message
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find

EXPANDABLE = {"coupon": frozenset[str](), "subscription_line_items": frozenset({"prices"})}


class Coupons(Controller):
    """Coupons."""

    path = "/coupons"
    tags = ("Coupons",)

    @post("/", operation_id="createCoupon", guards=[needs("coupon", "write")])
    async def create(self, data: CreateCouponRequest, session: AsyncSession) -> CouponResponse:
        """Create a coupon."""
        return CouponResponse.of_coupon(await coupons.create(session, data))

    @get("/", operation_id="listCoupons", guards=[needs("coupon", "read")], opt={"query": CouponFilter})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListCouponsResponse:
        """List coupons."""
        return await _coupon_page(session, read_query(request, CouponFilter))

    @post("/search", operation_id="queryCoupon", guards=[needs("coupon", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: CouponFilter | None = None) -> ListCouponsResponse:
        """Search coupons."""
        return await _coupon_page(session, data or CouponFilter())

    @get("/{id:str}", operation_id="getCoupon", guards=[needs("coupon", "read")])
    async def read(self, id: str, session: AsyncSession) -> CouponResponse:
        """Get a coupon, archived ones included."""
        return CouponResponse.of_coupon(await find(session, CouponRow, id))

    @get("/code/{code:str}", operation_id="getCouponByCode", guards=[needs("coupon", "read")])
    async def read_by_code(self, code: str, session: AsyncSession) -> CouponResponse:
        """Get the published coupon with this code, whatever its case."""
        return CouponResponse.of_coupon(await coupons.by_code(session, code))

    @put("/{id:str}", operation_id="updateCoupon", guards=[needs("coupon", "write")])
    async def update(self, id: str, data: UpdateCouponRequest, session: AsyncSession) -> CouponResponse:
        """Rename a coupon or replace its metadata."""
        return CouponResponse.of_coupon(await coupons.update(session, id, data))

    @delete("/{id:str}", operation_id="deleteCoupon", guards=[needs("coupon", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive a coupon; where it is attached it runs on."""
        await coupons.archive(session, id)
        return Message(message="Coupon deleted successfully")


class CouponAssociations(Controller):
    """What coupons are attached to."""

    path = "/coupons/associations"
    tags = ("Coupon Associations",)

    @get(
        "/",
        operation_id="listCouponAssociations",
        guards=[needs("coupon", "read")],
        opt={"query": CouponAssociationFilter},
    )
    async def browse(
        self, request: Request[Any, Any, Any], session: AsyncSession, clock: Clock
    ) -> ListCouponAssociationsResponse:
        """List coupon associations."""
        query = read_query(request, CouponAssociationFilter)
        wanted = expansions(query.expand, EXPANDABLE)
        found, total = await attaching.search(session, query, clock.now())
        answers = await _associations(session, found, wanted)
        answer: ListCouponAssociationsResponse = page(answers, total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getCouponAssociation", guards=[needs("coupon", "read")])
    async def read(self, id: str, session: AsyncSession, expand: str | None = None) -> CouponAssociationResponse:
        """Get a coupon association."""
        wanted = expansions(expand, EXPANDABLE)
        return (await _associations(session, [await find(session, CouponAssociation, id)], wanted))[0]


async def _coupon_page(session: AsyncSession, query: CouponFilter) -> ListCouponsResponse:
    expansions(query.expand, {})
    found, total = await coupons.search(session, query)
    answers = [CouponResponse.of_coupon(coupon) for coupon in found]
    answer: ListCouponsResponse = page(answers, total, query, next_offset=False)
    return answer


async def _associations(
    session: AsyncSession, associations: Sequence[CouponAssociation], wanted: dict[str, set[str]]
) -> list[CouponAssociationResponse]:
    described: dict[str, CouponResponse] = {}
    if "coupon" in wanted:
        found = await coupons_by_id(session, [association.coupon_id for association in associations])
        described = {coupon.id: CouponResponse.of_coupon(coupon) for coupon in found}
    lines: Mapping[str, dict[str, Any]] = {}
    if "subscription_line_items" in wanted:
        ids = [a.subscription_line_item_id for a in associations if a.subscription_line_item_id is not None]
        with_prices = "prices" in wanted["subscription_line_items"]
        lines = await ports_of(session, CataloguePorts).load_line_items(session, ids, with_prices)
    return [
        CouponAssociationResponse.of(
            association,
            coupon=described.get(association.coupon_id),
            subscription_line_item=lines.get(association.subscription_line_item_id or ""),
        )
        for association in associations
    ]
