"""A statement as a document, of an account or of a wallet: a page in the form of the environment's invoices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Days
from farthing.invoices.pdf.figures import text
from farthing.invoices.pdf.fonts import families
from farthing.invoices.pdf.page import RUNNING_TEXT, PageTexts, Table, party_texts
from farthing.invoices.pdf.render import render_page
from farthing.invoices.pdf.turns import typeset
from farthing.invoices.reads.letterhead import language_of, payer_of, seller_of, seller_zone

MOST_ROWS = 2_000
"""About 100 MB while it is typeset."""


@dataclass(frozen=True, slots=True)
class StatementPage:
    """What the page of a statement says; texts are fit to be placed. `table` has a row for each movement.

    `subject` is what it is the statement of, in the head of later pages; by default the customer. A total is a label, a
    figure, and whether it is a sum.
    """

    title: str
    period: Period
    currency: str
    table: Table
    closing_balance: str
    totals: Sequence[tuple[str, str, bool]]
    subject: str = ""
    facts_before: Sequence[tuple[str, str]] = ()
    facts_after: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def require_few_rows(count: int, field: str, what: str) -> None:
    """Raises ValidationFailed, naming `field`, for more rows than a document holds."""
    if count > MOST_ROWS:
        raise ValidationFailed.of(
            field, f"must leave at most {MOST_ROWS:,} {what} in the period of a PDF; the CSV holds more"
        )


async def typeset_statement(session: AsyncSession, customer: Customer, page: StatementPage) -> bytes:
    """The statement of a customer as a PDF."""
    logo = (await read(session, InvoicePdfConfig)).logo
    texts = await _texts(session, customer, page)
    picture = Logo.of_base64(logo) if logo else None
    return await typeset(customer.tenant_id, render_page, texts, page.period.end, picture)


async def _texts(session: AsyncSession, customer: Customer, page: StatementPage) -> PageTexts:
    seller, payer = await seller_of(session, customer.tenant_id), payer_of(customer)
    rows, code = page.table["rows"], page.currency.upper()
    days = Days.of(page.period.start, page.period.end, await seller_zone(session))
    period = figures.span(days, await language_of(session, customer))
    return {
        "title": page.title,
        "mark": "",
        "tag": "",
        "number": "",
        "currency": code,
        "paper": "a4",
        "fonts": families(" ".join(cell for row in rows for cell in row), seller.country or payer.country),
        "seller": party_texts(seller),
        "customer": party_texts(payer),
        "recipient": "Account of",
        "nothing": "" if rows else "Nothing moved.",
        "facts": [*page.facts_before, ("Period", period), ("Currency", code), *page.facts_after],
        "due": ("Closing balance", page.closing_balance),
        "description": "",
        "stacked": False,
        "with_span": False,
        "with_quantity": False,
        "with_unit_price": False,
        "groups": [],
        "tables": [page.table] if rows else [],
        "totals": list(page.totals),
        "notes": list(page.notes),
        "running": (text(seller.name, RUNNING_TEXT), text(f"Statement of {page.subject or payer.name}", RUNNING_TEXT)),
        "contact": text(seller.help_email or seller.email, RUNNING_TEXT),
    }
