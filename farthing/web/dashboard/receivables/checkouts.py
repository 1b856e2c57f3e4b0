"""Checkouts: which are open, how others ended, and cancelling one."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.conclusion import ending
from farthing.checkout.preparation.opening import page_url
from farthing.checkout.tables import OPEN, CheckoutSession
from farthing.core.checkout import CheckoutAction, CheckoutStatus
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import FarthingError
from farthing.payments.shared_by_routes import provide_gateways
from farthing.settings import Settings
from farthing.web.access.visitors import changes, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing

PAGE = "/checkouts"


class CheckoutList(Controller):
    """Checkouts of an environment."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("checkoutsession")])
    async def all(
        self, request: HttpRequest, session: AsyncSession, services: Composition, clock: Clock
    ) -> Response[str]:
        """The newest checkouts, narrowed by how far they are and by what they are for."""
        shown = listing(request, (), "")
        state, action = (request.query_params.get(name, "") for name in ("state", "action"))
        statement = select(CheckoutSession)
        if state in set(CheckoutStatus):
            statement = statement.where(CheckoutSession.checkout_status == state)
        if action in set(CheckoutAction):
            statement = statement.where(CheckoutSession.action == action)
        shown.total = (await session.execute(select(func.count()).select_from(statement.subquery()))).scalar_one()
        order = (CheckoutSession.created_at.desc(), CheckoutSession.id.desc())
        rows = (await session.scalars(statement.order_by(*order).limit(shown.per_page).offset(shown.offset))).all()
        base_url = services.part(Settings).base_url
        return render(
            request,
            "checkouts.html",
            checkouts=rows,
            open_states=OPEN,
            pages_of={row.id: page_url(base_url, row.environment_id, row.page_key) for row in rows},
            names=await names_of(session, {row.customer_id for row in rows}),
            now=clock.now(),
            listing=shown,
            state=state,
            action=action,
            states=[(each.value, each.value.capitalize()) for each in CheckoutStatus],
            actions=[(each.value, each.value.replace("_", " ").capitalize()) for each in CheckoutAction],
        )

    @post("/{checkout_id:str}/cancel", guards=[changes("checkoutsession")])
    async def cancel(
        self, checkout_id: str, request: HttpRequest, session: AsyncSession, services: Composition, clock: Clock
    ) -> Response[str]:
        """End an open checkout."""
        try:
            await ending.cancel_and_close_page(session, provide_gateways(services), checkout_id, clock)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "The checkout is cancelled, and its page is closed.")
