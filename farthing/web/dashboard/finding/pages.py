"""The page of the search; a script shows the same answers in a box over any page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.web.access.visitors import Visitor, own_account, visitor_of
from farthing.web.dashboard.finding import search
from farthing.web.dashboard.finding.typed import TypedText
from farthing.web.rendering.answers import HttpRequest, render


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What was found, by kind; None for what the visitor may not read."""

    customers: Sequence[search.FoundCustomer] = ()
    invoices: Sequence[search.FoundInvoice] = ()
    payments: Sequence[search.FoundPayment] = ()
    subscriptions: Sequence[search.FoundSubscription] = ()
    others: Sequence[search.FoundThing] = ()

    @property
    def count(self) -> int:
        groups: tuple[Sequence[object], ...] = (
            self.customers,
            self.invoices,
            self.payments,
            self.subscriptions,
            self.others,
        )
        return sum(map(len, groups))


async def look_for(session: AsyncSession, visitor: Visitor, typed: TypedText) -> SearchAnswer:
    """Everything that a text may mean, of what the visitor may read."""
    if not typed.text:
        return SearchAnswer()
    customers = await search.find_customers(session, typed) if visitor.may(READ, "customer") else ()
    found_ids = [found.customer.id for found in customers]
    others = [await look_up(session, typed.text) for entity, look_up in search.LOOK_UPS if visitor.may(READ, entity)]
    return SearchAnswer(
        customers=customers,
        invoices=await search.find_invoices(session, typed) if visitor.may(READ, "invoice") else (),
        payments=await search.find_payments(session, typed) if visitor.may(READ, "payment") else (),
        subscriptions=(
            await search.find_subscriptions(session, typed, found_ids) if visitor.may(READ, "subscription") else ()
        ),
        others=[found for found in others if found is not None],
    )


class SearchPages(Controller):
    """One box for everything."""

    path = "/search"
    include_in_schema = False

    @get("/", guards=[own_account(READ)])
    async def page(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """What a text means, by kind of thing."""
        typed = TypedText.of(request.query_params.get("q", ""))
        found = await look_for(session, visitor_of(request), typed)
        return render(request, "finding/search.html", typed=typed.text, found=found, now=clock.now())
