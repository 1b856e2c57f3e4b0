"""The list of invoices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Controller, Response, get
from markupsafe import Markup
from sqlalchemy import ColumnElement, and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.receivable import UNPAID, BillingReason, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.web.access.visitors import shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.lists.cells import date_text, day_column, linked
from farthing.web.dashboard.lists.showing import file_of_list, show_list
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.listing import (
    FilterKind,
    ListColumn,
    ListDefinition,
    ListFilter,
    amount_filters,
    day_filters,
    like,
)
from farthing.web.rendering.words import wording

STANDINGS = {
    "unpaid": "Unpaid",
    "overdue": "Overdue",
    "paid": "Paid",
    "draft": "Draft",
    "void": "Void",
    "written-off": "Written off",
    "skipped": "Skipped",
}
"""What the list can be narrowed to, in one word each."""
_NEVER_ON_INVOICES = (PaymentStatus.INITIATED, PaymentStatus.PROCESSING, PaymentStatus.VOIDED)
# the payer's name, as a column to sort by; the join costs nothing where it is not
_CUSTOMER_NAME = (
    select(func.lower(Customer.name)).where(Customer.id == Invoice.customer_id).correlate(Invoice).scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An invoice, and what else its cells show."""

    invoice: Invoice
    customer_name: str
    zone: str
    now: datetime

    @property
    def standing(self) -> str:
        return wording.standing(self.invoice, self.now)

    @property
    def is_owed(self) -> bool:
        return self.standing in {"Overdue", "Unpaid", "Part paid", "Failed"}

    @property
    def issued_at(self) -> datetime | None:
        return self.invoice.issue_date or self.invoice.finalized_at


def _standing(wanted: str, now: datetime) -> ColumnElement[bool]:
    match wanted:
        case "unpaid":
            return and_(text(UNPAID))
        case "overdue":
            return and_(text(UNPAID), Invoice.due_date < now)
        case "paid":
            paid = (PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID)
            return (Invoice.invoice_status == InvoiceStatus.FINALIZED) & Invoice.payment_status.in_(paid)
        case "written-off":
            return Invoice.written_off_at.is_not(None)
    statuses = {
        "draft": InvoiceStatus.DRAFT,
        "void": InvoiceStatus.VOIDED,
        "skipped": InvoiceStatus.SKIPPED,
    }
    return Invoice.invoice_status == statuses[wanted]


def _state_cell(row: InvoiceRow) -> Markup:
    state = wording.chip(row.standing)
    if row.standing != "Overdue":
        return state
    return state + Markup("<small>{}</small>").format(wording.how_late(row.invoice, row.now))


def _unpaid_cell(row: InvoiceRow) -> Markup | str:
    if not row.is_owed:
        return ""
    amount = wording.money(row.invoice.amount_remaining, row.invoice.currency)
    return Markup('<span class="bad">{}</span>').format(amount) if row.standing == "Overdue" else amount


def _for_cell(row: InvoiceRow) -> Markup | str:
    invoice = row.invoice
    if invoice.period_start is not None:
        return wording.period(invoice.period_start, invoice.period_end, row.zone)
    return invoice.description or wording.words(invoice.invoice_type)


def _for_text(row: InvoiceRow) -> str:
    invoice = row.invoice
    if invoice.period_start is not None:
        days = (date_text(invoice.period_start, row.zone), date_text(invoice.period_end, row.zone))
        return " to ".join(day for day in days if day)
    return invoice.description or wording.words(invoice.invoice_type)


def _money(key: str, label: str, column: Any, *, is_shown: bool = False) -> ListColumn[InvoiceRow]:
    """A column of an amount of the invoice."""
    name = column.key
    return ListColumn(
        key,
        label,
        lambda row: wording.money(getattr(row.invoice, name), row.invoice.currency),
        lambda row: plain(getattr(row.invoice, name)),
        sort=column.expression,
        is_number=True,
        is_money=True,
        is_shown=is_shown,
        is_wide=True,
    )


_ISSUED = func.coalesce(Invoice.issue_date, Invoice.finalized_at)
COLUMNS: tuple[ListColumn[InvoiceRow], ...] = (
    ListColumn(
        "number",
        "Invoice",
        lambda row: linked(f"/invoices/{row.invoice.id}", wording.invoice_name(row.invoice)),
        lambda row: wording.invoice_name(row.invoice),
        sort=Invoice.invoice_number.expression,
        is_name=True,
    ),
    ListColumn(
        "customer-name",
        "Customer",
        lambda row: linked(f"/customers/{row.invoice.customer_id}", row.customer_name),
        lambda row: row.customer_name,
        sort=_CUSTOMER_NAME,
    ),
    ListColumn("state", "State", _state_cell, lambda row: row.standing),
    day_column("issued", "Issued", _ISSUED, lambda row: row.issued_at, is_shown=True),
    ListColumn("period", "For", _for_cell, _for_text, sort=Invoice.period_end.expression, is_wide=True),
    day_column("due", "Due", Invoice.due_date.expression, lambda row: row.invoice.due_date, is_shown=True),
    ListColumn(
        "currency",
        "Currency",
        lambda row: row.invoice.currency.upper(),
        lambda row: row.invoice.currency,
        sort=Invoice.currency.expression,
        is_shown=False,
    ),
    _money("subtotal", "Subtotal", Invoice.subtotal),
    _money("tax", "Tax", Invoice.total_tax),
    _money("total", "Total", Invoice.total, is_shown=True),
    _money("paid", "Paid", Invoice.amount_paid),
    ListColumn(
        "unpaid",
        "Unpaid",
        _unpaid_cell,
        lambda row: plain(row.invoice.amount_remaining) if row.is_owed else "0",
        sort=Invoice.amount_remaining.expression,
        is_number=True,
        is_money=True,
    ),
    ListColumn(
        "payment-status",
        "Payment status",
        lambda row: wording.words(row.invoice.payment_status),
        lambda row: wording.words(row.invoice.payment_status),
        sort=Invoice.payment_status.expression,
        is_shown=False,
    ),
    ListColumn(
        "reason",
        "Reason",
        lambda row: wording.words(row.invoice.billing_reason),
        lambda row: wording.words(row.invoice.billing_reason),
        sort=Invoice.billing_reason.expression,
        is_shown=False,
    ),
    day_column("paid-at", "Paid on", Invoice.paid_at.expression, lambda row: row.invoice.paid_at),
    day_column("created", "Created", Invoice.created_at.expression, lambda row: row.invoice.created_at),
)


def _choices(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((value.value, wording.words(value)) for value in values)


def _filters(currencies: Sequence[str], now: datetime) -> tuple[ListFilter, ...]:
    choice, typed = FilterKind.CHOICE, FilterKind.TEXT
    payment = [status for status in PaymentStatus if status not in _NEVER_ON_INVOICES]
    return (
        ListFilter(
            "standing", "State", choice, lambda wanted: _standing(wanted, now), tuple(STANDINGS.items()), is_main=True
        ),
        ListFilter(
            "currency",
            "Currency",
            choice,
            lambda code: Invoice.currency == code,
            tuple((code, code.upper()) for code in currencies),
            is_main=True,
        ),
        ListFilter(
            "number",
            "Number begins with",
            typed,
            lambda start: Invoice.invoice_number.startswith(start, autoescape=True),
            is_main=True,
        ),
        ListFilter("customer", "Customer", typed, _of_customer),
        ListFilter(
            "payment", "Payment status", choice, lambda status: Invoice.payment_status == status, _choices(payment)
        ),
        ListFilter("type", "Type", choice, lambda kind: Invoice.invoice_type == kind, _choices(InvoiceType)),
        ListFilter("reason", "Reason", choice, lambda why: Invoice.billing_reason == why, _choices(BillingReason)),
        ListFilter("subscription", "Subscription id", typed, lambda wanted: Invoice.subscription_id == wanted),
        *day_filters("issued", "Issued", _ISSUED),
        *day_filters("due", "Due", Invoice.due_date.expression),
        *day_filters("paid", "Paid", Invoice.paid_at.expression),
        *amount_filters("total", "Total", Invoice.total.expression),
        *amount_filters("unpaid", "Unpaid", Invoice.amount_remaining.expression),
    )


def _of_customer(typed: str) -> ColumnElement[bool]:
    """Whose payer or owner has this id, external id or a name or address with these words."""
    pattern = like(typed)
    named = select(Customer.id).where(
        or_(
            Customer.id == typed,
            Customer.external_id == typed,
            Customer.name.ilike(pattern),
            Customer.email.ilike(pattern),
        )
    )
    return or_(Invoice.customer_id.in_(named), Invoice.owner_id.in_(named))


async def currencies_of(session: AsyncSession) -> list[str]:
    """Currencies in which there are invoices."""
    return list(await session.scalars(select(Invoice.currency).distinct().order_by(Invoice.currency)))


def _rows_of(session: AsyncSession, now: datetime) -> Callable[[Sequence[Any]], Awaitable[Sequence[InvoiceRow]]]:
    async def rows_of(found: Sequence[Any]) -> Sequence[InvoiceRow]:
        invoices = [invoice for (invoice,) in found]
        names = await names_of(session, {invoice.customer_id for invoice in invoices})
        zones = await reading_zones(session, invoices)
        return [
            InvoiceRow(invoice, names.get(invoice.customer_id, invoice.customer_id), zones[invoice.id], now)
            for invoice in invoices
        ]

    return rows_of


async def invoice_list(session: AsyncSession, now: datetime, *, with_skipped: bool) -> ListDefinition[InvoiceRow]:
    """The list, drafts that came to nothing left out unless they are asked for."""
    statement = select(Invoice).where(Invoice.status == Status.PUBLISHED)
    if not with_skipped:
        statement = statement.where(Invoice.invoice_status != InvoiceStatus.SKIPPED)
    return ListDefinition(
        key="invoices",
        path="/invoices",
        statement=statement,
        columns=COLUMNS,
        filters=_filters(await currencies_of(session), now),
        order=(Invoice.created_at.desc(), Invoice.id.desc()),
        rows_of=_rows_of(session, now),
        currency=Invoice.currency.expression,
        summed=Invoice.amount_remaining.expression,
        zone=zone_or_abbreviation(await zone_of(session)),
    )


async def _definition(request: HttpRequest, session: AsyncSession, now: datetime) -> ListDefinition[InvoiceRow]:
    return await invoice_list(session, now, with_skipped=request.query_params.get("standing") == "skipped")


class InvoiceList(Controller):
    """The list of invoices, as a page and as a file."""

    path = "/invoices"
    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def browse(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """All invoices, narrowed, sorted, in pages."""
        customer_id = request.query_params.get("customer", "")[:50].replace("\x00", "")
        return await show_list(
            request,
            session,
            "invoices.html",
            await _definition(request, session, clock.now()),
            of_customer=customer_id if customer_id.startswith("cust_") else "",
            names=await names_of(session, {customer_id} - {""}),
        )

    @get("/export.csv", guards=[shows("invoice")])
    async def export(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[bytes]:
        """The same rows and columns as a file."""
        return await file_of_list(request, session, await _definition(request, session, clock.now()))
