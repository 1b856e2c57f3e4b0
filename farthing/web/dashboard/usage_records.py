"""Usage records: what the usage of subscriptions came to by the hour, for which marketplace, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.errors import FarthingError
from farthing.marketplaces.reading import agreements_of, search_records
from farthing.marketplaces.reporting.decisions import count_as_taken, report_again
from farthing.marketplaces.reporting.standing import agreement_standings
from farthing.marketplaces.schemas import UsageRecordFilter
from farthing.payments.tables import ProviderType
from farthing.web.access.visitors import changes, shows
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.words.provider_names import PROVIDER_NAMES
from farthing.web.rendering.words.wording import reason

PAGE = "/usage-records"
MOST_AGREEMENTS = 100
STATES = (("waiting", "Not reported"), ("taken", "Reported"))


class UsageRecordPages(Controller):
    """Usage records."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("subscription")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The records, newest first; of one customer or one subscription where that is asked."""
        shown = listing(request, (), "")
        state, problem = request.query_params.get("state", ""), ""
        typed = request.query_params.get("customer", "").strip()[:255]
        subscription_id = request.query_params.get("subscription", "").strip()[:50]
        query = UsageRecordFilter(
            limit=shown.per_page,
            offset=shown.offset,
            synced=state == "taken" if state in dict(STATES) else None,
            subscription_id=subscription_id or None,
        )
        try:
            query.customer_id = await customer_id_of(session, typed, "customer") or None
        except FarthingError as error:
            problem = reason(error)
        found, shown.total = ([], 0) if problem else await search_records(session, query)
        standings = [] if typed or subscription_id else await agreement_standings(session, MOST_AGREEMENTS)
        customers = {record.customer_id for record in found} | {each.agreement.customer_id for each in standings}
        return render(
            request,
            "usage_records.html",
            records=found,
            standings=standings,
            names=await names_of(session, customers),
            agreements=await agreements_of(session, {record.subscription_id for record in found}),
            marketplaces={
                provider.value: PROVIDER_NAMES[provider] for provider in ProviderType if provider in PROVIDER_NAMES
            },
            listing=shown,
            customer=typed,
            subscription=subscription_id,
            state=state,
            states=STATES,
            problem=problem,
        )

    @post("/reports/{report_id:str}/again", guards=[changes("integration")])
    async def again(self, report_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Report anew what a marketplace refused."""
        return await _decided(request, report_again(session, report_id), "It is reported again, in another hour.")

    @post("/reports/{report_id:str}/taken", guards=[changes("integration")])
    async def taken(self, report_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Count a report as taken, as somebody saw at the marketplace."""
        return await _decided(request, count_as_taken(session, report_id, clock.now()), "It counts as taken.")


async def _decided(request: HttpRequest, decision: Awaitable[None], words: str) -> Response[str]:
    try:
        await decision
    except FarthingError as error:
        return await refused(request, PAGE, error)
    return done(request, PAGE, words)
