"""The statement of account as a document, in the form of the environment's invoices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.figures import text
from farthing.invoices.reads.letterhead import language_of, seller_zone
from farthing.invoices.reads.statement_page import StatementPage, require_few_rows, typeset_statement
from farthing.reporting.statement.account import AccountStatement, StatementEntry
from farthing.reporting.statement.tabulated import WORDS, detail_of


async def as_pdf(session: AsyncSession, statement: AccountStatement) -> bytes:
    """The statement as a PDF; its days are those of the zone that invoices are dated in.

    Raises ValidationFailed for more entries than a document holds.
    """
    require_few_rows(len(statement.entries), "until", "entries")
    code, zone = statement.currency, await seller_zone(session)
    language = await language_of(session, statement.customer)
    notes = [f"Unpaid invoices {figures.money(statement.unpaid, code)}."]
    if statement.in_credit:
        notes += [f"In credit, on no invoice {figures.money(statement.in_credit, code)}."]
    page = StatementPage(
        title="Statement of account",
        period=statement.period,
        currency=code,
        table={
            "heads": ["Entry", "Day", "Document", f"Charged ({code.upper()})", "Credited", "Balance"],
            "rows": [
                _row(entry, figures.day(to_local(entry.at, zone).date(), language), code) for entry in statement.entries
            ],
            "figures": 3,
        },
        closing_balance=figures.money(statement.closing, code),
        totals=[
            ("Opening balance", figures.money(statement.opening, code), False),
            ("Charged", figures.money(statement.charged, code), False),
            ("Credited", figures.money(statement.credited.copy_negate(), code), False),
            ("Closing balance", figures.money(statement.closing, code), True),
        ],
        notes=notes,
    )
    return await typeset_statement(session, statement.customer, page)


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
