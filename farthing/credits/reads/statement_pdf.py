"""The statement of a wallet as a document, in the form of the environment's invoices."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.credits.enums import TransactionType
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.reads.statement import WalletStatement
from farthing.customers.tables import Customer
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.figures import text
from farthing.invoices.reads.letterhead import language_of, seller_zone
from farthing.invoices.reads.statement_page import StatementPage, require_few_rows, typeset_statement


async def as_pdf(session: AsyncSession, statement: WalletStatement) -> bytes:
    """The statement as a PDF; its days are those of the zone that invoices are dated in.

    Raises ValidationFailed for more movements than a document holds.
    """
    require_few_rows(len(statement.movements), "end_time", "movements")
    wallet, zone = statement.wallet, await seller_zone(session)
    customer = await session.get_one(Customer, wallet.customer_id)
    language = await language_of(session, customer)
    page = StatementPage(
        title="Wallet statement",
        subject=wallet.name,
        period=statement.period,
        currency=wallet.currency,
        table={
            "heads": ["Movement", "Day", "Reason", "Credits", "Balance after"],
            "rows": [
                _row(movement, figures.day(to_local(movement.updated_at, zone).date(), language))
                for movement in statement.movements
            ],
            "figures": 2,
        },
        closing_balance=figures.money(statement.value(statement.closing), wallet.currency),
        totals=[
            ("Opening credits", figures.grouped(statement.opening), False),
            ("Added", figures.grouped(statement.added), False),
            ("Taken", figures.grouped(statement.taken.copy_negate()), False),
            ("Closing credits", figures.grouped(statement.closing), True),
        ],
        facts_before=[("Wallet", text(wallet.name))],
        facts_after=[("Value of a credit", figures.money(wallet.conversion_rate, wallet.currency))],
    )
    return await typeset_statement(session, customer, page)


def _row(movement: WalletTransaction, day: str) -> list[str]:
    is_taken = movement.type is TransactionType.DEBIT
    reason = movement.transaction_reason.value.replace("_", " ").capitalize()
    return [
        text(movement.description) or reason,
        day,
        reason,
        figures.grouped(movement.credit_amount.copy_negate() if is_taken else movement.credit_amount),
        figures.grouped(movement.credit_balance_after),
    ]
