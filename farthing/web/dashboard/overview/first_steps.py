"""What a new company does first: each step is done when the data say so, and nothing is kept about it."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import Controller, post
from litestar.response import Redirect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import WRITE
from farthing.core.composition import Composition
from farthing.events.usage.event_store import EventOrder, EventSelection, store_of
from farthing.web.access.sessions import Sessions
from farthing.web.access.visitors import Visitor, require_own_form, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, go

DISMISSED = "farthing_first_steps"
"""The cookie of a browser in which somebody put the steps away; it names the environment."""
_A_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class FirstStep:
    """A step: what it is for, whether it is done, and the one button that leads to it."""

    title: str
    about: str
    path: str
    button: str
    is_done: bool
    is_optional: bool = False


_DONE = text(
    """
    SELECT
        EXISTS (SELECT FROM tenants WHERE id = :tenant
            AND coalesce(billing_details #>> '{address,address_city}', billing_details #>> '{address,address_line1}')
                <> '') AS letterhead,
        EXISTS (SELECT FROM prices WHERE entity_type = 'PLAN' AND status = 'published') AS product,
        EXISTS (SELECT FROM customers WHERE status = 'published') AS customer,
        EXISTS (SELECT FROM subscriptions WHERE status = 'published')
            OR EXISTS (SELECT FROM invoices WHERE status = 'published') AS invoice,
        EXISTS (SELECT FROM invoices WHERE status = 'published' AND finalized_at IS NOT NULL) AS goal
    """
)


async def first_steps(session: AsyncSession, visitor: Visitor, dismissed: str | None) -> list[FirstStep]:
    """The steps of a company that has not done all of them, until it has issued an invoice, which they lead to; none
    for who may not, or has put them away.
    """
    may_begin = all(visitor.may(WRITE, entity) for entity in ("tenant", "plan", "customer", "subscription"))
    if not may_begin or dismissed == visitor.environment.id:
        return []
    done = (await session.execute(_DONE, {"tenant": visitor.caller.tenant_id})).one()
    if done.goal:
        return []
    an_event = await store_of(session).events.select(session, EventSelection(), EventOrder(limit=1))
    steps = [
        FirstStep(
            "Your letterhead",
            "Name, address and bank account, as every invoice shows them.",
            "/company",
            "Fill in the letterhead",
            done.letterhead,
        ),
        FirstStep(
            "Your first plan",
            "What you sell: a fixed fee, a price for usage, or both.",
            "/catalogue/plans/new",
            "Make a plan",
            done.product,
        ),
        FirstStep("Your first customer", "Whom you invoice.", "/customers/new", "Add a customer", done.customer),
        FirstStep(
            "Your first invoice",
            "Subscribe the customer to the plan, and see what it will be before it is made.",
            "/subscriptions/new",
            "Subscribe the customer",
            done.invoice,
        ),
        FirstStep(
            "A test event",
            "If you charge for usage: send one event, as your program will.",
            "/events/new",
            "Send a test event",
            bool(an_event),
            is_optional=True,
        ),
    ]
    return [] if all(step.is_done or step.is_optional for step in steps) else steps


async def next_step(request: HttpRequest, session: AsyncSession) -> str:
    """What to say after a step that is done: the one to do next, and where it is; "" where there is none."""
    steps = await first_steps(session, visitor_of(request), request.cookies.get(DISMISSED))
    step = next((step for step in steps if not step.is_done and not step.is_optional), None)
    return "" if step is None else f" Next comes {step.title[:1].lower()}{step.title[1:]}, from the overview."


class FirstSteps(Controller):
    """The list of first steps on the overview."""

    path = "/first-steps"
    include_in_schema = False

    @post("/dismiss", guards=[shows("invoice")])
    async def dismiss(self, request: HttpRequest, services: Composition) -> Redirect:
        """Put the list away in this browser."""
        visitor = visitor_of(request)
        require_own_form(request, visitor.session)
        cookie = services.part(Sessions).plain_cookie(DISMISSED, visitor.environment.id, _A_YEAR)
        return go("/", cookie)
