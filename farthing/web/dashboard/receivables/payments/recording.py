"""Recording money that arrived, over as many open invoices of a customer as it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.currency import digits
from farthing.core.encoding.wire import BadField, currency_code
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import EXACT, ZERO, decimals, exact_sum
from farthing.customers.tables import Customer
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.tables import Invoice
from farthing.payments.processing.descriptions import RECORDED_METHODS
from farthing.payments.processing.received import (
    ReceivedTransfer,
    oldest_first,
    open_invoices,
    record_received,
    sum_open,
)
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.unapplied.allocation import Allocation
from farthing.payments.unapplied.reads import balances
from farthing.reporting.statement.account import account_currencies
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.typed_fields import number_in, problems_at, start_of_day
from farthing.web.rendering.words import wording

Value = TypeVar("Value")
PART = "part:"
"""The beginning of the name of each invoice's field."""
MOST_INVOICES = 100
"""So many open invoices stand on the form, those due first."""


@dataclass(slots=True)
class RecordingForm:
    """A form as it is shown: what was typed, what is wrong with it, and whether the rest has to be agreed to."""

    given: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict)
    rest: Decimal = ZERO
    status: int = 200


class RecordingPages(Controller):
    """Recording payments."""

    path = "/payments/new"
    include_in_schema = False

    @get("/", guards=[shows("payment")])
    async def begin(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Choose a customer, then say how much arrived and for which invoices."""
        query = request.query_params
        typed = query.get("customer", "").strip()[:200].replace("\x00", "")
        given = {"customer": typed, "currency": query.get("currency", "").strip().lower()[:3]}
        try:
            customer_id = await customer_id_of(session, typed, "customer")
            if query.get("invoice"):
                invoice = await find(session, Invoice, query["invoice"][:50])
                customer_id, part = invoice.customer_id, _typed(max(invoice.amount_remaining, ZERO), invoice.currency)
                given |= {"currency": invoice.currency, "amount": part, PART + invoice.id: part}
            if customer_id:
                await find(session, Customer, customer_id)
        except FarthingError as error:
            problem = {"customer": wording.reason(error)}
            return render(request, "payments/customer.html", status=error.status, given=given, problems=problem)
        if not customer_id:
            return render(request, "payments/customer.html", given=given, problems={})
        given["customer"] = customer_id
        return await _page(request, session, clock, RecordingForm(given))

    @post("/preview", guards=[changes("payment")], status_code=200)
    async def propose(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Spread the amount over the invoices due first, to be looked at."""
        given = form_of(request)
        form = RecordingForm({name: text for name, text in given.items() if not name.startswith(PART)})
        try:
            amount = _positive(given)
            customer_id, code = given.get("customer", ""), given.get("currency", "")
            parts = oldest_first(await open_invoices(session, customer_id, code, MOST_INVOICES), amount)
            form.given |= {PART + part.invoice_id: _typed(part.amount, code) for part in parts}
            form.rest = EXACT.subtract(amount, exact_sum([part.amount for part in parts]))
        except ValidationFailed as error:
            form = RecordingForm(given, problems_at(error, _place, given), status=400)
        return await _page(request, session, clock, form)

    @post("/", guards=[changes("payment")])
    async def record(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Record it; what no invoice is given has to be agreed to."""
        given = form_of(request)
        rest = ZERO
        try:
            transfer = await _transfer(session, given)
            rest = max(transfer.rest, ZERO)
            created = await record_received(session, provide_gateways(services), transfer, clock)
        except (FarthingError, msgspec.ValidationError, BadField) as raised:
            error = as_domain_error(raised)
            await session.rollback()
            place = _placing(given)
            fields = {**given, "keep_rest": "", "received_on": ""}
            form = RecordingForm(given, problems_at(error, place, fields), rest, error.status)
            return await _page(request, session, clock, form)
        said = _said(transfer) if created.is_new else "It is recorded already: this is the payment."
        return done(request, f"/payments/{created.payment.id}", said)


def _typed(amount: Decimal, code: str) -> str:
    """An amount as somebody types it: with at least the currency's digits."""
    return f"{amount:.{max(digits(code), decimals(amount))}f}"


def _said(transfer: ReceivedTransfer) -> str:
    code = transfer.currency
    count = len(transfer.allocations)
    said = f"{wording.money(transfer.amount, code)} recorded"
    said += f", for {wording.counted(count, 'invoice')}." if count else "."
    return f"{said} {wording.money(transfer.rest, code)} is on the customer's balance." if transfer.rest else said


async def _transfer(session: AsyncSession, given: Mapping[str, str]) -> ReceivedTransfer:
    """The form as a transfer; a day is one of the seller's. Raises ValidationFailed, which names every wrong field."""
    zone = zone_or_abbreviation(await zone_of(session))
    on, method = given.get("received_on", ""), given.get("method", "")
    problems: dict[str, str] = {}
    amount = _read(problems, lambda: _positive(given))
    received_at = _read(problems, lambda: start_of_day("received_on", on, zone)) if on else None
    if method not in RECORDED_METHODS:
        problems["method"] = "must be chosen from the list"
    parts = [
        (name, _read(problems, partial(number_in, name, typed)))
        for name, typed in given.items()
        if name.startswith(PART) and typed
    ]
    if problems or amount is None:
        raise ValidationFailed.listing(problems)
    described = {"method": method, "reference": given.get("reference", ""), "note": given.get("note", "")}
    return ReceivedTransfer(
        customer_id=given.get("customer", ""),
        currency=currency_code("currency", given.get("currency", "")),
        amount=amount,
        allocations=[Allocation(name.removeprefix(PART), part) for name, part in parts if part],
        keeps_rest=given.get("keep_rest") == "yes",
        key=given.get("once", "")[:50] or new_ulid(),
        metadata={name: text[:500] for name, text in described.items() if text},
        received_at=received_at,
    )


def _read(problems: dict[str, str], read: Callable[[], Value]) -> Value | None:
    """What a field holds, or nothing and what is wrong with it among the problems."""
    try:
        return read()
    except ValidationFailed as error:
        problems |= error.details
        return None


def _positive(given: Mapping[str, str]) -> Decimal:
    amount = number_in("amount", given.get("amount", ""))
    if amount <= 0:
        raise ValidationFailed.of("amount", "must be greater than 0")
    return amount


_FIELDS = {"received_at": "received_on", "currency": "amount"}


def _place(name: str) -> str:
    return _FIELDS.get(name, name)


def _placing(given: Mapping[str, str]) -> Any:
    """Fields of the wire as fields of the form: the parts are numbered in the order of those that are not empty."""
    parts = [name for name, typed in given.items() if name.startswith(PART) and typed]

    def place(name: str) -> str:
        for position, part in enumerate(parts):
            if name.startswith(f"allocations[{position}]"):
                return part
        return _place(name)

    return place


async def _page(request: HttpRequest, session: AsyncSession, clock: Clock, form: RecordingForm) -> Response[str]:
    given = form.given
    customer = await find(session, Customer, given.get("customer", ""))
    code = given.get("currency") or await _usual_currency(session, customer)
    invoices = await open_invoices(session, customer.id, code, MOST_INVOICES)
    count, open_amount = await sum_open(session, customer.id, code)
    zone = await zone_of(session)
    return render(
        request,
        "payments/new.html",
        status=form.status,
        customer=customer,
        code=code,
        currencies=sorted({code, *(await account_currencies(session, customer.id))}),
        invoices=invoices,
        left_out=max(count - len(invoices), 0),
        open_amount=open_amount,
        zones=await reading_zones(session, invoices),
        unapplied=[row for row in await balances(session, customer.id) if row.currency == code],
        now=clock.now(),
        today=to_local(clock.now(), zone_or_abbreviation(zone)).date().isoformat(),
        given=given,
        problems=form.problems,
        rest=form.rest,
        part=PART,
        methods=list(RECORDED_METHODS.items()),
        once=given.get("once") or new_ulid(),
    )


async def _usual_currency(session: AsyncSession, customer: Customer) -> str:
    """The currency in which the customer has open invoices, else that it is billed in."""
    for code in await account_currencies(session, customer.id):
        if await open_invoices(session, customer.id, code, 1):
            return code
    return customer.billing_currency or "usd"
