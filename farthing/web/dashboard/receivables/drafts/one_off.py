"""Making a one-off invoice: its form, what it will come to, and making it as a draft or issuing it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.api.work import rehearsal
from farthing.calendar.zones import zone_or_abbreviation
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.taxes.enums import TaxRateStatus
from farthing.catalogue.taxes.tables import TaxRateRow
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, FarthingError
from farthing.core.ids import new_ulid
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.invoices.lifecycle import one_off
from farthing.invoices.reads.presentation import shown
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.routes import effects_of
from farthing.invoices.schemas import InvoiceResponse
from farthing.invoices.tables import Invoice
from farthing.reporting.statement.account import account_currencies
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.receivables.drafts.typed_invoice import (
    COUPON,
    FEWEST_LINES,
    LINE_FIELDS,
    MOST_LINES,
    TAX,
    invoice_request,
    place_of,
    typed_lines,
)
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.typed_fields import problems_at
from farthing.web.rendering.words import wording

MOST_CHOICES = 50
"""So many coupons and tax rates are offered."""


@dataclass(slots=True)
class InvoiceForm:
    """The form as it is shown: what was typed, what is wrong, and what the invoice would come to."""

    given: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict)
    outcome: InvoiceResponse | None = None
    status: int = 200


class OneOffPages(Controller):
    """One-off invoices."""

    path = "/invoices/new"
    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def begin(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Choose a customer, then say what the invoice is for."""
        typed = request.query_params.get("customer", "").strip()[:200].replace("\x00", "")
        try:
            customer_id = await customer_id_of(session, typed, "customer")
            if customer_id:
                await find(session, Customer, customer_id)
        except FarthingError as error:
            problems = {"customer": wording.reason(error)}
            given = {"customer": typed}
            return render(request, "drafts/customer.html", status=error.status, given=given, problems=problems)
        if not customer_id:
            return render(request, "drafts/customer.html", given={}, problems={})
        return await _page(request, session, clock.now(), InvoiceForm({"customer": customer_id}))

    @post("/preview", guards=[changes("invoice")], status_code=200)
    async def preview(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """See discounts, tax and total before anything is made; or have room for more lines."""
        form = InvoiceForm(form_of(request))
        if form.given.get("action") == "more":
            return await _page(request, session, clock.now(), form)
        try:
            asked = invoice_request(form.given, await _zone(session, form.given))
            asked.idempotency_key, asked.invoice_status = None, InvoiceStatus.DRAFT
            async with rehearsal(request) as undone:
                made = await one_off.create(undone, asked, clock.now(), effects=effects_of(undone))
                form.outcome = await shown(undone, made)
        except (FarthingError, msgspec.ValidationError) as error:
            form = _refused(form.given, as_domain_error(error))
        return await _page(request, session, clock.now(), form)

    @post("/", guards=[changes("invoice")])
    async def create(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Make it; sent again, it is the invoice that was made the first time."""
        given = form_of(request)
        try:
            asked = invoice_request(given, await _zone(session, given))
            made = await _make(session, asked, clock.now())
        except (FarthingError, msgspec.ValidationError) as error:
            await session.rollback()
            return await _page(request, session, clock.now(), _refused(given, as_domain_error(error)))
        said = f"Issued as {made.invoice_number}." if made.invoice_number else "The draft is made."
        return done(request, f"/invoices/{made.id}", said)


async def _zone(session: AsyncSession, given: Mapping[str, str]) -> ZoneInfo:
    """The zone in which the days of an invoice are read: its customer's."""
    customer = await find(session, Customer, given.get("customer", ""))
    return zone_or_abbreviation(customer.timezone)


async def _make(session: AsyncSession, asked: Any, now: datetime) -> Invoice:
    try:
        return await one_off.create(session, asked, now, effects=effects_of(session))
    except AlreadyExists as error:
        if "invoice_id" not in error.details:
            raise
        await session.rollback()
        return await find(session, Invoice, error.details["invoice_id"])


def _refused(given: dict[str, str], error: FarthingError) -> InvoiceForm:
    numbers = typed_lines(given)
    fields = {**given, **{f"{name}-{number}": "" for number in (*numbers, 0) for name in LINE_FIELDS}}
    fields |= dict.fromkeys(("due", "currency", "description"), "")
    problems = problems_at(error, lambda name: place_of(numbers, name), fields)
    return InvoiceForm(given, problems, status=error.status)


async def _page(request: HttpRequest, session: AsyncSession, now: datetime, form: InvoiceForm) -> Response[str]:
    given = form.given
    customer = await find(session, Customer, given.get("customer", ""))
    known = await account_currencies(session, customer.id)
    code = given.get("currency") or customer.billing_currency or (known[0] if known else "usd")
    last = max(typed_lines(given), default=-1) + 1
    rows = max(FEWEST_LINES, last + (3 if given.get("action") == "more" else 0), _count(given))
    return render(
        request,
        "drafts/new.html",
        status=form.status,
        customer=customer,
        code=code,
        given=given,
        problems=form.problems,
        outcome=form.outcome,
        numbers=range(min(rows, MOST_LINES)),
        most_lines=MOST_LINES,
        coupons=await _coupons(session, code),
        taxes=await _taxes(session),
        coupon=COUPON,
        tax=TAX,
        today=now.date().isoformat(),
        once=given.get("once") or new_ulid(),
    )


def _count(given: Mapping[str, str]) -> int:
    """How many lines the form had."""
    return sum(1 for number in range(MOST_LINES) if f"name-{number}" in given)


async def _coupons(session: AsyncSession, code: str) -> list[tuple[str, str]]:
    """Coupons that an invoice in a currency may have, with what they take off."""
    found = await session.scalars(
        select(CouponRow)
        .where(
            CouponRow.status == Status.PUBLISHED,
            or_(CouponRow.currency.is_(None), CouponRow.currency == code, CouponRow.percentage_off.is_not(None)),
        )
        .order_by(CouponRow.name, CouponRow.id)
        .limit(MOST_CHOICES)
    )
    return [(coupon.id, f"{coupon.name}, {_value(coupon)}") for coupon in found]


def _value(coupon: CouponRow) -> str:
    if coupon.percentage_off is not None:
        return f"{plain(coupon.percentage_off)}%"
    return wording.money(coupon.amount_off, coupon.currency or "usd")


async def _taxes(session: AsyncSession) -> list[tuple[str, str]]:
    found = await session.scalars(
        select(TaxRateRow)
        .where(TaxRateRow.status == Status.PUBLISHED, TaxRateRow.tax_rate_status == TaxRateStatus.ACTIVE)
        .order_by(TaxRateRow.name, TaxRateRow.id)
        .limit(MOST_CHOICES)
    )
    return [
        (rate.id, f"{rate.name}, {plain(rate.percentage_value)}%" if rate.percentage_value is not None else rate.name)
        for rate in found
    ]
