"""The lists of the catalogue: plans, addons, features, coupons and tax rates, each on a page of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar

from litestar import Controller, Response, get
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import shows
from farthing.web.dashboard.catalogue.plans.pages import live_prices
from farthing.web.dashboard.catalogue.plans.price_words import ShownPrice, shown_prices
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.listing import Listing, listing

Sold = TypeVar("Sold", Plan, Addon, Feature, CouponRow, TaxRateRow)
_MOST_PRICES = 4
"""Of the prices of a plan so many are shown in the list."""


class CatalogueLists(Controller):
    """What is sold."""

    path = "/catalogue"
    include_in_schema = False

    @get("/", guards=[shows("plan")])
    async def plans(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Plans, with what they cost and who subscribes."""
        at, rows = await _page(request, session, Plan)
        return _render(
            request,
            "plans",
            at,
            plans=rows,
            prices=await _prices(session, PriceEntityType.PLAN, rows, clock),
            subscribers=await _subscribers(session, [row.id for row in rows]),
        )

    @get("/addons", guards=[shows("addon")])
    async def addons(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Addons, with what they cost."""
        at, rows = await _page(request, session, Addon)
        prices = await _prices(session, PriceEntityType.ADDON, rows, clock)
        return _render(request, "addons", at, addons=rows, prices=prices)

    @get("/features", guards=[shows("feature")])
    async def features(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Features, with what they count."""
        at, rows = await _page(request, session, Feature)
        ids = {row.meter_id for row in rows if row.meter_id}
        meters = await session.scalars(select(MeterRow).where(in_array(MeterRow.id, ids)))
        return _render(request, "features", at, features=rows, meters={meter.id: meter for meter in meters})

    @get("/coupons", guards=[shows("coupon")])
    async def coupons(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Coupons, with what they take off and how often they were redeemed."""
        at, rows = await _page(request, session, CouponRow)
        return _render(request, "coupons", at, coupons=rows)

    @get("/taxes", guards=[shows("tax")])
    async def taxes(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Tax rates, with how many they apply to."""
        at, rows = await _page(request, session, TaxRateRow)
        counted = await session.execute(
            select(TaxAssociation.tax_rate_id, func.count())
            .where(
                in_array(TaxAssociation.tax_rate_id, {row.id for row in rows}),
                TaxAssociation.status == Status.PUBLISHED,
            )
            .group_by(TaxAssociation.tax_rate_id)
        )
        return _render(request, "taxes", at, rates=rows, uses=dict(counted.all()))


def _render(request: HttpRequest, tab: str, at: Listing, **values: Any) -> Response[str]:
    archived = request.query_params.get("archived") == "yes"
    return render(request, f"catalogue/{tab}.html", tab=tab, listing=at, archived=archived, **values)


async def _page(request: HttpRequest, session: AsyncSession, table: type[Sold]) -> tuple[Listing, Sequence[Sold]]:
    """One page of what is published, or of what is archived, by name."""
    at = listing(request, (), "")
    archived = request.query_params.get("archived") == "yes"
    wanted = select(table).where(table.status == (Status.ARCHIVED if archived else Status.PUBLISHED))
    at.total = await session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    rows = await session.scalars(wanted.order_by(func.lower(table.name), table.id).limit(at.per_page).offset(at.offset))
    return at, rows.all()


async def _prices(
    session: AsyncSession, kind: PriceEntityType, owners: Sequence[Plan] | Sequence[Addon], clock: Clock
) -> dict[str, tuple[list[ShownPrice], int]]:
    """The first prices of each, and how many more it has."""
    by_owner: dict[str, list[ShownPrice]] = defaultdict(list)
    ids = [row.id for row in owners]
    live, counts = await live_prices(session, kind, ids, clock.now(), _MOST_PRICES)
    for shown in await shown_prices(session, live):
        by_owner[shown.row.entity_id].append(shown)
    return {owner_id: (shown, counts[owner_id] - len(shown)) for owner_id, shown in by_owner.items()}


async def _subscribers(session: AsyncSession, plan_ids: Sequence[str]) -> dict[str, int]:
    counted = await session.execute(
        select(Subscription.plan_id, func.count())
        .where(
            in_array(Subscription.plan_id, set(plan_ids)),
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != "cancelled",
        )
        .group_by(Subscription.plan_id)
    )
    return dict(counted.all())
