"""Subscriptions: the list, by state and plan."""

from __future__ import annotations

from litestar import Controller, Response, get
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.core.enums import Status
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import shows
from farthing.web.dashboard.accounts.customers import names_of
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.listing import listing


class SubscriptionPages(Controller):
    """Subscriptions."""

    path = "/subscriptions"
    include_in_schema = False

    @get("/", guards=[shows("subscription")])
    async def browse(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """All subscriptions, by state and plan, in pages."""
        at = listing(request, ("created",), "created")
        state, plan_id = (request.query_params.get(name, "")[:50].replace("\x00", "") for name in ("state", "plan"))
        statement = select(Subscription).where(Subscription.status == Status.PUBLISHED)
        if state in set(SubscriptionStatus):
            statement = statement.where(Subscription.subscription_status == SubscriptionStatus(state))
        if plan_id:
            statement = statement.where(Subscription.plan_id == plan_id)
        at.total = await session.scalar(select(func.count()).select_from(statement.subquery())) or 0
        order = (Subscription.created_at.desc(), Subscription.id.desc())
        found = (await session.scalars(statement.order_by(*order).limit(at.per_page).offset(at.offset))).all()
        plans = (await session.execute(select(Plan.id, Plan.name).order_by(Plan.name).limit(200))).all()
        return render(
            request,
            "subscriptions.html",
            subscriptions=found,
            listing=at,
            state=state,
            plan_id=plan_id,
            plans=plans,
            plan_names=dict(plans),
            names=await names_of(session, {subscription.customer_id for subscription in found}),
            states=list(SubscriptionStatus),
        )
