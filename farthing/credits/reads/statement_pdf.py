"""The statement of a wallet as a document, in the form of the environment's invoices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain
from farthing.credits.enums import TransactionType
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.reads.statement import WalletStatement
from farthing.customers.tables import Customer
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

MOST_ROWS = 2_000
"""About 100 MB while it is typeset."""


async def as_pdf(session: AsyncSession, statement: WalletStatement) -> bytes:
    """The statement as a PDF; its days are those of the zone that invoices are dated in.

    Raises ValidationFailed for more movements than a document holds.
    """
    if len(statement.movements) > MOST_ROWS:
        raise ValidationFailed.of(
            "end_time", f"must leave at most {MOST_ROWS} movements in the period of a PDF; the CSV holds more"
        )
    logo = (await read(session, InvoicePdfConfig)).logo
    texts = await _texts(session, statement)
    picture = Logo.of_base64(logo) if logo else None
    return await typeset(statement.wallet.tenant_id, render_page, texts, statement.period.end, picture)


async def _texts(session: AsyncSession, statement: WalletStatement) -> PageTexts:
    wallet = statement.wallet
    seller = await seller_of(session, wallet.tenant_id)
    customer = payer_of(await session.get_one(Customer, wallet.customer_id))
    zone = zone_or_abbreviation((await read(session, InvoiceConfig)).timezone)
    rows = [_row(movement, figures.day(to_local(movement.updated_at, zone).date())) for movement in statement.movements]
    table: Table = {"heads": ["Movement", "Day", "Reason", "Credits", "Balance after"], "rows": rows, "figures": 2}
    facts = [
        ("Wallet", text(wallet.name)),
        ("Period", figures.span(Days.of(statement.period.start, statement.period.end, zone))),
        ("Currency", wallet.currency.upper()),
        ("Value of a credit", f"{plain(wallet.conversion_rate)} {wallet.currency.upper()}"),
    ]
    return {
        "title": "Wallet statement",
        "mark": "",
        "tag": "",
        "number": "",
        "currency": wallet.currency.upper(),
        "paper": "a4",
        "fonts": families(" ".join(cell for row in rows for cell in row), seller.country or customer.country),
        "seller": party_texts(seller),
        "customer": party_texts(customer),
        "recipient": "Account of",
        "nothing": "" if rows else "Nothing moved.",
        "facts": facts,
        "due": ("Closing balance", figures.money(statement.value(statement.closing), wallet.currency)),
        "description": "",
        "stacked": False,
        "with_span": False,
        "with_quantity": False,
        "with_unit_price": False,
        "groups": [],
        "tables": [table] if rows else [],
        "totals": [
            ("Opening credits", plain(statement.opening), False),
            ("Added", plain(statement.added), False),
            ("Taken", f"-{plain(statement.taken)}" if statement.taken else "0", False),
            ("Closing credits", plain(statement.closing), True),
        ],
        "notes": [],
        "running": (text(seller.name, RUNNING_TEXT), text(f"Statement of {wallet.name}", RUNNING_TEXT)),
        "contact": text(seller.help_email or seller.email, RUNNING_TEXT),
    }


def _row(movement: WalletTransaction, day: str) -> list[str]:
    sign = "-" if movement.type is TransactionType.DEBIT else ""
    reason = movement.transaction_reason.value.replace("_", " ").capitalize()
    return [
        text(movement.description) or reason,
        day,
        reason,
        sign + plain(movement.credit_amount),
        plain(movement.credit_balance_after),
    ]
