"""The statement of account as a document, in the form of the environment's invoices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.errors import ValidationFailed
from farthing.identity.settings.catalogue import InvoiceConfig, InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Days
from farthing.invoices.pdf.figures import text
from farthing.invoices.pdf.fonts import families
from farthing.invoices.pdf.page import RUNNING_TEXT, PageTexts, Table, party_texts
from farthing.invoices.pdf.render import render_page
from farthing.invoices.pdf.turns import typeset
from farthing.invoices.reads.letterhead import payer_of, seller_of
from farthing.reporting.statement.account import AccountStatement, StatementEntry
from farthing.reporting.statement.tabulated import WORDS, detail_of

MOST_ROWS = 2_000
"""About 100 MB while it is typeset."""


async def as_pdf(session: AsyncSession, statement: AccountStatement) -> bytes:
    """The statement as a PDF; its days are those of the zone that invoices are dated in.

    Raises ValidationFailed for more entries than a document holds.
    """
    if len(statement.entries) > MOST_ROWS:
        raise ValidationFailed.of(
            "until", f"must leave at most {MOST_ROWS:,} entries in the period of a PDF; the CSV holds more"
        )
    logo = (await read(session, InvoicePdfConfig)).logo
    texts = await _texts(session, statement)
    picture = Logo.of_base64(logo) if logo else None
    return await typeset(statement.customer.tenant_id, render_page, texts, statement.period.end, picture)


async def _texts(session: AsyncSession, statement: AccountStatement) -> PageTexts:
    customer, code = statement.customer, statement.currency
    seller, payer = await seller_of(session, customer.tenant_id), payer_of(customer)
    zone = zone_or_abbreviation((await read(session, InvoiceConfig)).timezone)
    rows = [_row(entry, figures.day(to_local(entry.at, zone).date()), code) for entry in statement.entries]
    table: Table = {
        "heads": ["Entry", "Day", "Document", f"Charged ({code.upper()})", "Credited", "Balance"],
        "rows": rows,
        "figures": 3,
    }
    notes = [f"Unpaid invoices {figures.money(statement.unpaid, code)}."]
    if statement.in_credit:
        notes += [f"In credit, on no invoice {figures.money(statement.in_credit, code)}."]
    return {
        "title": "Statement of account",
        "mark": "",
        "tag": "",
        "number": "",
        "currency": code.upper(),
        "paper": "a4",
        "fonts": families(" ".join(cell for row in rows for cell in row), seller.country or payer.country),
        "seller": party_texts(seller),
        "customer": party_texts(payer),
        "recipient": "Account of",
        "nothing": "" if rows else "Nothing moved.",
        "facts": [
            ("Period", figures.span(Days.of(statement.period.start, statement.period.end, zone))),
            ("Currency", code.upper()),
        ],
        "due": ("Closing balance", figures.money(statement.closing, code)),
        "description": "",
        "stacked": False,
        "with_span": False,
        "with_quantity": False,
        "with_unit_price": False,
        "groups": [],
        "tables": [table] if rows else [],
        "totals": [
            ("Opening balance", figures.money(statement.opening, code), False),
            ("Charged", figures.money(statement.charged, code), False),
            ("Credited", figures.money(statement.credited.copy_negate(), code), False),
            ("Closing balance", figures.money(statement.closing, code), True),
        ],
        "notes": notes,
        "running": (text(seller.name, RUNNING_TEXT), text(f"Statement of {payer.name}", RUNNING_TEXT)),
        "contact": text(seller.help_email or seller.email, RUNNING_TEXT),
    }


def _row(entry: StatementEntry, day: str, code: str) -> list[str]:
    detail = detail_of(entry)
    return [
        text(f"{WORDS[entry.kind]}, {detail}" if detail else WORDS[entry.kind]),
        day,
        text(entry.document),
        figures.number(entry.amount, code) if entry.amount > 0 else "",
        figures.number(entry.amount.copy_negate(), code) if entry.amount < 0 else "",
        figures.number(entry.balance, code),
    ]
