"""The list of customers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from litestar import Controller, Response, get
from markupsafe import Markup
from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.money import ZERO, plain
from farthing.customers.tables import Customer
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.accounts.customers import Debt, debts, owed_currencies
from farthing.web.dashboard.lists.cells import day_column, linked
from farthing.web.dashboard.lists.showing import file_of_list, show_list
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.listing import (
    FilterKind,
    ListColumn,
    ListDefinition,
    ListFilter,
    day_filters,
    like,
)
from farthing.web.rendering.words import wording

SHOWN_CURRENCIES = 3
"""In how many currencies what is owed has a column before anybody chooses."""
SHOWN_WITH_OVERDUE = 2
"""Up to how many currencies what of it is overdue has one too: more columns have no room beside one another."""


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer, and what it owes by currency."""

    customer: Customer
    debts: Mapping[str, Debt]
    zone: str

    def unpaid(self, code: str) -> Decimal:
        return self.debts[code].unpaid if code in self.debts else ZERO

    def overdue(self, code: str) -> Decimal:
        return self.debts[code].overdue if code in self.debts else ZERO


def _name_cell(row: CustomerRow) -> Markup:
    name = linked(f"/customers/{row.customer.id}", row.customer.name)
    return name + Markup("<small>Archived</small>") if row.customer.status is Status.ARCHIVED else name


def _plain_column(key: str, label: str, column: Any, *, is_shown: bool = False) -> ListColumn[CustomerRow]:
    """A text that the customer has."""
    name = column.key
    return ListColumn(
        key,
        label,
        lambda row: getattr(row.customer, name) or "",
        lambda row: getattr(row.customer, name) or "",
        sort=column.expression,
        is_shown=is_shown,
        is_wide=True,
    )


def _owed(code: str, *conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    """What each customer owes in a currency, to sort by."""
    owed = (
        select(func.sum(Invoice.amount_remaining))
        .where(Invoice.customer_id == Customer.id, Invoice.currency == code, text(_OF_INVOICES), *conditions)
        .correlate(Customer)
    )
    return func.coalesce(owed.scalar_subquery(), 0)


# the words of the definition name columns that customers have too
_OF_INVOICES = UNPAID.replace("status = 'published'", "invoices.status = 'published'", 1)


def _money_columns(
    code: str, now: datetime, *, is_shown: bool, shows_overdue: bool
) -> tuple[ListColumn[CustomerRow], ...]:
    def shown(amount: Decimal, *, is_bad: bool = False) -> Markup | str:
        if not amount:
            return Markup('<span class="soft">–</span>')
        written = wording.money(amount, code)
        return Markup('<span class="bad">{}</span>').format(written) if is_bad else written

    return (
        ListColumn(
            f"owed-{code}",
            f"Unpaid, {code.upper()}",
            lambda row: shown(row.unpaid(code)),
            lambda row: plain(row.unpaid(code)),
            sort=_owed(code),
            is_number=True,
            is_shown=is_shown,
        ),
        ListColumn(
            f"overdue-{code}",
            f"Overdue, {code.upper()}",
            lambda row: shown(row.overdue(code), is_bad=True),
            lambda row: plain(row.overdue(code)),
            sort=_owed(code, Invoice.due_date < now),
            is_number=True,
            is_shown=is_shown and shows_overdue,
            is_wide=True,
        ),
    )


def _columns(currencies: Sequence[str], now: datetime) -> tuple[ListColumn[CustomerRow], ...]:
    money = [
        column
        for place, code in enumerate(currencies)
        for column in _money_columns(
            code, now, is_shown=place < SHOWN_CURRENCIES, shows_overdue=len(currencies) <= SHOWN_WITH_OVERDUE
        )
    ]
    return (
        ListColumn(
            "name",
            "Name",
            _name_cell,
            lambda row: row.customer.name,
            sort=func.lower(Customer.name),
            is_name=True,
        ),
        _plain_column("email", "E-mail", Customer.email, is_shown=True),
        _plain_column("external-id", "External id", Customer.external_id, is_shown=True),
        *money,
        _plain_column("country", "Country", Customer.address_country),
        _plain_column("city", "City", Customer.address_city),
        _plain_column("tax-id", "Tax id", Customer.tax_id),
        _plain_column("id", "Id", Customer.id),
        ListColumn(
            "state",
            "State",
            lambda row: "Archived" if row.customer.status is Status.ARCHIVED else "Active",
            lambda row: "Archived" if row.customer.status is Status.ARCHIVED else "Active",
            sort=Customer.status.expression,
            is_shown=False,
        ),
        day_column(
            "created", "Since", Customer.created_at.expression, lambda row: row.customer.created_at, is_shown=True
        ),
    )


def _words(typed: str) -> ColumnElement[bool]:
    pattern = like(typed)
    return or_(
        *(column.ilike(pattern) for column in (Customer.name, Customer.email, Customer.external_id, Customer.id))
    )


def _owing(code: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    owed = select(Invoice.customer_id).where(text(_OF_INVOICES), Invoice.currency == code, *conditions)
    return Customer.id.in_(owed)


def _filters(currencies: Sequence[str], countries: Sequence[str], now: datetime) -> tuple[ListFilter, ...]:
    choice, codes = FilterKind.CHOICE, tuple((code, code.upper()) for code in currencies)
    owing = (
        ListFilter("owes", "Owes in", choice, _owing, codes, is_main=True, unset="Any or nothing"),
        ListFilter(
            "overdue",
            "Is overdue in",
            choice,
            lambda code: _owing(code, Invoice.due_date < now),
            codes,
            unset="Any or none",
        ),
    )
    return (
        ListFilter("q", "Name, email or id", FilterKind.TEXT, _words, is_main=True),
        ListFilter(
            "archived",
            "Archived",
            choice,
            lambda _: Customer.status != Status.DELETED,  # the rows to choose from follow from it
            (("yes", "Archived alone"), ("all", "Archived too")),
            is_main=True,
            unset="Left out",
        ),
        *(owing if currencies else ()),
        ListFilter(
            "country",
            "Country",
            choice,
            lambda code: Customer.address_country == code,
            tuple((code, code) for code in countries),
        ),
        *day_filters("created", "Since", Customer.created_at.expression),
    )


async def customer_list(
    session: AsyncSession, now: datetime, *, archived: str, asks_debts: bool, may_see_money: bool
) -> ListDefinition[CustomerRow]:
    """The list. Archived customers are left out unless they are asked for, or who owes something is."""
    currencies = await owed_currencies(session) if may_see_money else []
    countries = await session.scalars(
        select(Customer.address_country)
        .where(Customer.address_country != "")
        .distinct()
        .order_by(Customer.address_country)
    )
    zone = await zone_of(session)
    statuses = {"yes": (Status.ARCHIVED,), "all": (Status.PUBLISHED, Status.ARCHIVED)}
    default = statuses["all"] if asks_debts and may_see_money else (Status.PUBLISHED,)
    return ListDefinition(
        key="customers",
        path="/customers",
        statement=select(Customer).where(Customer.status.in_(statuses.get(archived, default))),
        columns=_columns(currencies, now),
        filters=_filters(currencies, countries.all(), now),
        order=(Customer.created_at.desc(), Customer.id.desc()),
        rows_of=_rows_of(session, now, zone, may_see_money=may_see_money),
        zone=zone_or_abbreviation(zone),
    )


def _rows_of(
    session: AsyncSession, now: datetime, zone: str, *, may_see_money: bool
) -> Callable[[Sequence[Any]], Awaitable[Sequence[CustomerRow]]]:
    async def rows_of(found: Sequence[Any]) -> Sequence[CustomerRow]:
        customers = [customer for (customer,) in found]
        owed = await debts(session, [customer.id for customer in customers], now) if may_see_money else {}
        return [
            CustomerRow(customer, {debt.currency: debt for debt in owed.get(customer.id, ())}, zone)
            for customer in customers
        ]

    return rows_of


async def _definition(request: HttpRequest, session: AsyncSession, now: datetime) -> ListDefinition[CustomerRow]:
    asked = request.query_params
    sort = asked.get("sort", "")
    return await customer_list(
        session,
        now,
        archived=asked.get("archived", ""),
        asks_debts=bool(asked.get("owes") or asked.get("overdue")) or sort.startswith(("owed-", "overdue-")),
        may_see_money=visitor_of(request).may(READ, "invoice"),
    )


class CustomerList(Controller):
    """The list of customers, as a page and as a file."""

    path = "/customers"
    include_in_schema = False

    @get("/", guards=[shows("customer")])
    async def browse(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """All customers, narrowed, sorted, in pages."""
        definition = await _definition(request, session, clock.now())
        return await show_list(request, session, "customers.html", definition)

    @get("/export.csv", guards=[shows("customer")])
    async def export(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[bytes]:
        """The same rows and columns as a file."""
        return await file_of_list(request, session, await _definition(request, session, clock.now()))
