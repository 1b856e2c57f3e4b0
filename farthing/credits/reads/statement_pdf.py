"""The statement of a wallet as a document, in the form of the environment's invoices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.money import plain
from farthing.credits.enums import TransactionType
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.reads.statement import WalletStatement
from farthing.customers.tables import Customer
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.figures import text
from farthing.invoices.reads.letterhead import seller_zone
from farthing.invoices.reads.statement_page import StatementPage, require_few_rows, typeset_statement


async def as_pdf(session: AsyncSession, statement: WalletStatement) -> bytes:
    """The statement as a PDF; its days are those of the zone that invoices are dated in.

    Raises ValidationFailed for more movements than a document holds.
    """
    require_few_rows(len(statement.movements), "end_time", "movements")
    wallet, zone = statement.wallet, await seller_zone(session)
    page = StatementPage(
        title="Wallet statement",
        subject=wallet.name,
        period=statement.period,
        currency=wallet.currency,
        table={
            "heads": ["Movement", "Day", "Reason", "Credits", "Balance after"],
            "rows": [
                _row(movement, figures.day(to_local(movement.updated_at, zone).date()))
                for movement in statement.movements
            ],
            "figures": 2,
        },
        closing_balance=figures.money(statement.value(statement.closing), wallet.currency),
        totals=[
            ("Opening credits", plain(statement.opening), False),
            ("Added", plain(statement.added), False),
            ("Taken", f"-{plain(statement.taken)}" if statement.taken else "0", False),
            ("Closing credits", plain(statement.closing), True),
        ],
        facts_before=[("Wallet", text(wallet.name))],
        facts_after=[("Value of a credit", f"{plain(wallet.conversion_rate)} {wallet.currency.upper()}")],
    )
    return await typeset_statement(session, await session.get_one(Customer, wallet.customer_id), page)


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
