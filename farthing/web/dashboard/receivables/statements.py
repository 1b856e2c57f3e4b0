"""The statement of account of a customer: to look at, as a document, and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.clock import Clock
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE
from farthing.core.encoding.file_names import content_disposition
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.customers.tables import Customer
from farthing.reporting.statement.account import AccountStatement, account_currencies, account_statement
from farthing.reporting.statement.document import as_pdf
from farthing.reporting.statement.tabulated import WORDS, as_csv, detail_of
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import shows
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HEADERS, HttpRequest, refused, render
from farthing.web.rendering.typed_fields import start_of_day, start_of_next_day

_PAGES = {
    "invoice": "/invoices/",
    "invoice_voided": "/invoices/",
    "write_off": "/invoices/",
    "write_off_undone": "/invoices/",
    "marked_paid": "/invoices/",
    "applied_elsewhere": "/invoices/",
    "credit": "/invoices/",
    "credit_note": "/credit-notes/",
    "credit_note_voided": "/credit-notes/",
    "payment": "/payments/",
    "wallet_payment": "/payments/",
}
"""Where the document of an entry is looked at."""


@dataclass(frozen=True, slots=True)
class StatementQuestion:
    """Whose account in which currency, and which days, both included; the days as they stand in the form."""

    customer: Customer
    currency: str
    first_day: str
    last_day: str
    zone: str


class StatementPages(Controller):
    """Statements of account."""

    path = "/customers/{customer_id:str}/statement"
    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def read(self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """What moved the account in a period, and its balance after each entry."""
        question = await _question(session, customer_id, request, clock.now())
        problem, statement = "", None
        try:
            statement = await _statement(session, question)
        except ValidationFailed as error:
            problem = "; ".join(f"{field}: {reason}" for field, reason in error.details.items())
        return render(
            request,
            "statements/account.html",
            status=400 if problem else 200,
            question=question,
            customer=question.customer,
            statement=statement,
            problem=problem,
            currencies=sorted({question.currency, *await account_currencies(session, customer_id)}),
            zone=question.zone,
            words=WORDS,
            detail_of=detail_of,
            pages=_PAGES,
        )

    @get("/file", guards=[shows("invoice")])
    async def download(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[Any]:
        """The statement as a PDF, or as CSV."""
        question = await _question(session, customer_id, request, clock.now())
        is_csv = request.query_params.get("format") == "csv"
        try:
            statement = await _statement(session, question)
            content = as_csv(statement) if is_csv else await as_pdf(session, statement)
        except FarthingError as error:
            return await refused(request, f"/customers/{customer_id}/statement", error)
        ending = "csv" if is_csv else "pdf"
        name = f"statement-{question.currency}-{question.first_day}-{question.last_day}.{ending}"
        headers = {**HEADERS, "Content-Disposition": content_disposition("attachment", name)}
        return Response(content, media_type=CSV_MEDIA_TYPE if is_csv else "application/pdf", headers=headers)


async def _question(session: AsyncSession, customer_id: str, request: HttpRequest, now: datetime) -> StatementQuestion:
    """What the address asks for; without days it is the month that runs, without a currency the customer's own."""
    customer = await find(session, Customer, customer_id)
    query, zone = request.query_params, await zone_of(session)
    today = to_local(now, zone_or_abbreviation(zone)).date()
    currencies = await account_currencies(session, customer.id)
    usual = customer.billing_currency or (currencies[0] if currencies else "usd")
    asked = query.get("currency", "").strip().lower()
    return StatementQuestion(
        customer,
        asked if len(asked) == 3 and asked.isascii() and asked.isalpha() else usual,
        query.get("from") or today.replace(day=1).isoformat(),
        query.get("until") or today.isoformat(),
        zone,
    )


async def _statement(session: AsyncSession, question: StatementQuestion) -> AccountStatement:
    """Raises ValidationFailed for days that are none, or that are in the wrong order."""
    zone = zone_or_abbreviation(question.zone)
    start = start_of_day("from", question.first_day, zone)
    end = start_of_next_day("until", question.last_day, zone)
    if end <= start:
        raise ValidationFailed.of("until", "must not be before the first day")
    return await account_statement(session, question.customer.id, question.currency, Period(start, end))
