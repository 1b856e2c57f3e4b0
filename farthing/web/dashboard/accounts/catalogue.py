"""The catalogue: plans, addons and features, and one plan with its prices and what it includes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from litestar import Controller, Response, get
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.plans import EVERYTHING, addon_answers, plan_answers
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.storage.queries.rows import find
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.accounts.entitlements import metered_features
from farthing.web.rendering.answers import HttpRequest, render

MOST = 200


Sold = TypeVar("Sold", Plan, Addon, Feature, MeterRow, CouponRow, TaxRateRow)


async def _published(session: AsyncSession, table: type[Sold]) -> Sequence[Sold]:
    query = select(table).where(table.status == Status.PUBLISHED)
    return (await session.scalars(query.order_by(table.name, table.id).limit(MOST))).all()


class Catalogue(Controller):
    """What is sold."""

    path = "/catalogue"
    include_in_schema = False

    @get("/", guards=[shows("plan")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Plans, addons, features, coupons and tax rates."""
        seen = visitor_of(request)
        prices = dict(
            (
                await session.execute(
                    select(Price.entity_id, func.count())
                    .where(Price.status == Status.PUBLISHED, Price.end_date.is_(None))
                    .group_by(Price.entity_id)
                )
            ).all()
        )
        subscribers = dict(
            (
                await session.execute(
                    select(Subscription.plan_id, func.count())
                    .where(Subscription.status == Status.PUBLISHED, Subscription.subscription_status != "cancelled")
                    .group_by(Subscription.plan_id)
                )
            ).all()
        )
        meters = await _published(session, MeterRow)
        return render(
            request,
            "catalogue.html",
            plans=await _published(session, Plan),
            addons=await _published(session, Addon),
            features=await _published(session, Feature) if seen.may(READ, "feature") else [],
            meters={meter.id: meter for meter in meters},
            coupons=await _published(session, CouponRow) if seen.may(READ, "coupon") else [],
            taxes=await _published(session, TaxRateRow) if seen.may(READ, "tax") else [],
            prices=prices,
            subscribers=subscribers,
        )

    @get("/plans/{plan_id:str}", guards=[shows("plan")])
    async def plan(self, plan_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One plan."""
        row = await find(session, Plan, plan_id)
        [whole] = await plan_answers(session, [row], EVERYTHING, clock.now())
        past, features = await _past(session, row.id, clock), await metered_features(session)
        return render(request, "plan.html", owner=whole, kind="Plan", past=past, features=features)

    @get("/addons/{addon_id:str}", guards=[shows("addon")])
    async def addon(self, addon_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One addon."""
        row = await find(session, Addon, addon_id)
        [whole] = await addon_answers(session, [row], EVERYTHING, clock.now())
        past, features = await _past(session, row.id, clock), await metered_features(session)
        return render(request, "plan.html", owner=whole, kind="Addon", past=past, features=features)


async def _past(session: AsyncSession, owner_id: str, clock: Clock) -> int:
    """How many prices have ended."""
    kinds = (PriceEntityType.PLAN, PriceEntityType.ADDON)
    query = select(func.count()).where(
        Price.entity_id == owner_id, Price.entity_type.in_(kinds), Price.end_date <= clock.now()
    )
    return await session.scalar(query) or 0
