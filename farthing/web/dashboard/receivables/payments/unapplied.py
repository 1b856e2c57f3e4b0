"""Money that stands on no invoice: whose it is, which invoices are to have it, or giving it back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import exact_sum, plain
from farthing.customers.tables import Customer
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.payments.processing.received import oldest_first, open_invoices
from farthing.payments.refunds.tables import RefundReason
from farthing.payments.refunds.unapplied import unapplied_refunds_of
from farthing.payments.unapplied.allocation import Allocation, allocate_by_hand
from farthing.payments.unapplied.reads import money_left
from farthing.payments.unapplied.schemas import AllocateMoneyRequest
from farthing.payments.unapplied.tables import HAS_REST, UnappliedMoney
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.dashboard.receivables.payments.recording import MOST_INVOICES, PART
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.typed_fields import WHOLE_FORM, number_in, problems_at
from farthing.web.rendering.words import wording

SOURCES = {
    "PAYMENT": "Paid without an invoice",
    "OVERPAYMENT": "Paid beyond an invoice",
    "CREDIT_NOTE": "Given by a credit note",
}


class UnappliedMoneyPages(Controller):
    """Money that stands on no invoice."""

    path = "/"
    include_in_schema = False

    @get("/unapplied-money", guards=[shows("payment")])
    async def browse(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Whose money waits, by customer and currency, the oldest first."""
        at = listing(request, (), "")
        money = UnappliedMoney
        since = func.min(money.created_at)
        left = func.sum(money.amount - money.allocated - money.withdrawn)
        grouped = (
            select(money.customer_id, money.currency, left.label("amount"), since.label("since"))
            .where(text(HAS_REST))
            .group_by(money.customer_id, money.currency)
        )
        rows = grouped.subquery()
        at.total = await session.scalar(select(func.count()).select_from(rows)) or 0
        sums = await session.execute(
            select(rows.c.currency, func.sum(rows.c.amount)).group_by(rows.c.currency).order_by(rows.c.currency)
        )
        order = (since, money.customer_id, money.currency)
        page = (await session.execute(grouped.order_by(*order).limit(at.per_page).offset(at.offset))).all()
        return render(
            request,
            "payments/unapplied.html",
            rows=page,
            sums=[(code, amount) for code, amount in sums],
            names=await names_of(session, {row.customer_id for row in page}),
            listing=at,
            zone=await zone_of(session),
        )

    @get("/customers/{customer_id:str}/unapplied-money", guards=[shows("payment")])
    async def read(self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """The money of one customer in one currency, and the invoices that can have it."""
        code = request.query_params.get("currency", "").strip().lower()[:3]
        return await _page(request, session, clock, customer_id, code)

    @post("/customers/{customer_id:str}/unapplied-money/allocate", guards=[changes("payment")])
    async def allocate(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Let invoices have the amounts that were typed."""
        given = form_of(request)
        parts = [name for name, typed in given.items() if name.startswith(PART) and typed]
        try:
            asked = convert(
                {
                    "currency": given.get("currency", ""),
                    "allocations": [
                        {"invoice_id": name.removeprefix(PART), "amount": plain(number_in(name, given[name]))}
                        for name in parts
                    ],
                },
                AllocateMoneyRequest,
            )
            wanted = [Allocation(part.invoice_id, part.amount) for part in asked.allocations or ()]
            seen = number_in("seen", given.get("seen", ""))
            await allocate_by_hand(session, customer_id, asked.currency, wanted, clock.now(), expected=seen)
        except (FarthingError, msgspec.ValidationError) as raised:
            error = as_domain_error(raised)
            await session.rollback()
            return await _page(
                request, session, clock, customer_id, given.get("currency", ""), given=given, error=error
            )
        total = wording.money(exact_sum([part.amount for part in wanted]), asked.currency)
        said = f"{total} paid on {wording.counted(len(wanted), 'invoice')}."
        return done(request, f"/customers/{customer_id}/unapplied-money?currency={asked.currency}", said)


async def _page(
    request: HttpRequest,
    session: AsyncSession,
    clock: Clock,
    customer_id: str,
    code: str,
    *,
    given: Mapping[str, str] | None = None,
    error: FarthingError | None = None,
) -> Response[str]:
    customer = await find(session, Customer, customer_id)
    money = await money_left(session, customer.id)
    currencies = sorted({row.currency for row in money})
    code = code or (currencies[0] if currencies else customer.billing_currency or "usd")
    money = [row for row in money if row.currency == code]
    left = exact_sum([row.left for row in money])
    invoices = await open_invoices(session, customer.id, code, MOST_INVOICES)
    if given is None:
        given = {PART + part.invoice_id: plain(part.amount) for part in oldest_first(invoices, left)}
    problems = _problems(error, given) if error is not None else {}
    return render(
        request,
        "payments/customer_unapplied.html",
        status=error.status if error is not None else 200,
        customer=customer,
        code=code,
        currencies=currencies,
        money=money,
        left=left,
        invoices=invoices,
        zones=await reading_zones(session, invoices),
        now=clock.now(),
        zone=await zone_of(session),
        given=given,
        problems=problems,
        part=PART,
        sources=SOURCES,
        reasons=list(RefundReason),
        refunds=[row for row in await unapplied_refunds_of(session, customer.id, 20) if row.currency == code],
        once=new_ulid(),
    )


def _problems(error: FarthingError, given: Mapping[str, str]) -> dict[str, str]:
    parts = [name for name, typed in given.items() if name.startswith(PART) and typed]

    def place(name: str) -> str:
        for position, part in enumerate(parts):
            if name.startswith(f"allocations[{position}]"):
                return part
        return name

    if isinstance(error, ValidationFailed) and "allocations" in error.details:
        return {WHOLE_FORM: f"Amounts {error.details['allocations']}"}
    return problems_at(error, place, given)
