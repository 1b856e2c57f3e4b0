"""Exchange rates: what one currency is in another, for whom and when; to set, to change, to end, and to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.catalogue.fx import rates
from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.market import import_days
from farthing.catalogue.fx.reference_file import UnusableReferenceFile, read_reference_file
from farthing.catalogue.fx.schemas import CreateFxRateRequest, FxRateFilter, UpdateFxRateRequest
from farthing.catalogue.fx.tables import FxRate
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.customers.tables import Customer
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing

PAGE = "/exchange-rates"
ENDED = "archived"


@dataclass(frozen=True, slots=True)
class ShownRate:
    """A rate with whom it is for in words, the page of that, and whether it holds now."""

    row: FxRate
    holder: str
    path: str
    holds: bool


class ExchangeRatePages(Controller):
    """Exchange rates."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("price")])
    async def all(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """The rates, newest first."""
        shown = listing(request, (), "")
        ended = request.query_params.get("state") == ENDED
        query = FxRateFilter(
            limit=shown.per_page, offset=shown.offset, status=Status.ARCHIVED if ended else Status.PUBLISHED
        )
        found, shown.total = await rates.search(session, query)
        return render(
            request,
            "exchange_rates.html",
            rates=await _shown(session, found, clock.now()),
            listing=shown,
            state=ENDED if ended else "",
            states=[(ENDED, "Ended")],
            scopes=[(FxScope.TENANT, "Everybody"), (FxScope.CUSTOMER, "One customer"),
                    (FxScope.SUBSCRIPTION, "One subscription")],
        )  # fmt: skip

    @post("/", guards=[changes("price")])
    async def create(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Set a rate."""
        given = form_of(request)
        body = {name: text for name, text in given.items() if text and name in _FIELDS}
        for name in ("start_date", "end_date"):
            if name in body:
                body[name] = f"{body[name]}T00:00:00Z"
        try:
            row = await rates.create(session, convert(body, CreateFxRateRequest))
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, f"{row.pair} is set.")

    @post("/import", guards=[changes("price")])
    async def import_file(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Import reference rates that were pasted."""
        try:
            days = read_reference_file(form_of(request).get("file", ""))
        except UnusableReferenceFile as error:
            return await refused(request, PAGE, ValidationFailed.of("file", str(error)))
        imported = await import_days(session, days)
        return done(request, PAGE, f"Rates up to {imported.newest_day} are imported; {len(imported.moved)} moved.")

    @post("/{rate_id:str}", guards=[changes("price")])
    async def change(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Give a rate another figure; what was converted stays."""
        try:
            await rates.update(session, rate_id, convert({"rate": form_of(request).get("rate")}, UpdateFxRateRequest))
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, "The rate is changed, for invoices from now on.")

    @post("/{rate_id:str}/close", guards=[changes("price")])
    async def close(self, rate_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Let an override hold until now; one that has not begun is withdrawn."""
        row = await session.get(FxRate, rate_id)
        try:
            if row is not None and (row.start_date is None or row.start_date < clock.now()):
                await rates.update(session, rate_id, UpdateFxRateRequest(end_date=clock.now()))
            else:
                await rates.archive(session, rate_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "The rate has ended.")


_FIELDS = frozenset({"from_currency", "to_currency", "scope", "scope_id", "rate", "source", "start_date", "end_date"})


async def _shown(session: AsyncSession, found: Sequence[FxRate], now: datetime) -> list[ShownRate]:
    ids = {row.scope_id for row in found if row.scope_id}
    customers = {row.id: row.name for row in await session.scalars(select(Customer).where(in_array(Customer.id, ids)))}
    owned = await session.execute(
        select(Subscription.id, Customer.name)
        .join(Customer, Customer.id == Subscription.customer_id)
        .where(in_array(Subscription.id, ids))
    )
    subscribers = dict(owned.all())
    return [_shown_rate(row, customers, subscribers, now) for row in found]


def _shown_rate(row: FxRate, customers: dict[str, str], subscribers: dict[str, str], now: datetime) -> ShownRate:
    begun, over = row.start_date or datetime.min.replace(tzinfo=UTC), row.end_date
    holds = row.status is Status.PUBLISHED and begun <= now and (over is None or now < over)
    scope_id = row.scope_id or ""
    if row.scope is FxScope.CUSTOMER:
        return ShownRate(row, customers.get(scope_id, scope_id), f"/customers/{scope_id}", holds)
    if row.scope is FxScope.SUBSCRIPTION:
        holder = f"Subscription of {subscribers[scope_id]}" if scope_id in subscribers else scope_id
        return ShownRate(row, holder, f"/subscriptions/{scope_id}", holds)
    return ShownRate(row, "Everybody", "", holds)
