"""Usage records: what the usage of subscriptions came to by the hour, for which marketplace, and what became of it."""

from __future__ import annotations

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import FarthingError
from farthing.marketplaces.reading import agreements_of, search_records
from farthing.marketplaces.schemas import UsageRecordFilter
from farthing.payments.tables import ProviderType
from farthing.web.access.visitors import shows
from farthing.web.dashboard.accounts.customers import names_of
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.words.provider_names import PROVIDER_NAMES
from farthing.web.rendering.words.wording import reason

STATES = (("waiting", "Not reported"), ("taken", "Reported"))


class UsageRecordPages(Controller):
    """Usage records."""

    path = "/usage-records"
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
        return render(
            request,
            "usage_records.html",
            records=found,
            names=await names_of(session, {record.customer_id for record in found}),
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
