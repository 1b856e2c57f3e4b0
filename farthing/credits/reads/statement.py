"""The statement of a wallet over a period: what it had, what moved it, and what it had then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import instant
from farthing.core.encoding.csv_table import csv_bytes, inert
from farthing.core.errors import ValidationFailed
from farthing.core.money import ZERO, exact_sum, plain
from farthing.credits.enums import TransactionType
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.conversion import value_of
from farthing.storage.queries.rows import find

MOST_MOVEMENTS = 10_000
HEADS = (
    "time",
    "transaction_id",
    "type",
    "transaction_reason",
    "description",
    "credits",
    "amount",
    "credit_balance_before",
    "credit_balance_after",
    "expiry_date",
    "reference_type",
    "reference_id",
    "created_by",
)


@dataclass(frozen=True, slots=True)
class WalletStatement:
    """`movements` are those of `period` in their order; `opening` and `closing` are credits before and after them."""

    wallet: Wallet
    period: Period
    opening: Decimal
    closing: Decimal
    movements: list[WalletTransaction]

    @property
    def added(self) -> Decimal:
        return exact_sum([row.credit_amount for row in self.movements if row.type is TransactionType.CREDIT])

    @property
    def taken(self) -> Decimal:
        return exact_sum([row.credit_amount for row in self.movements if row.type is TransactionType.DEBIT])

    def value(self, credits: Decimal) -> Decimal:
        return value_of(credits, self.wallet.conversion_rate)


async def statement_of(session: AsyncSession, wallet_id: str, period: Period) -> WalletStatement:
    """The statement of a period. Raises NotFound, and ValidationFailed for more movements than one can list.

    Movements take their place in the chain at the time at which they were posted.
    Rule: docs/rules/credits.md#statements
    """
    wallet = await find(session, Wallet, wallet_id)
    row = WalletTransaction
    chain = select(row).where(row.wallet_id == wallet.id, row.seq.is_not(None))
    inside = chain.where(row.updated_at >= period.start, row.updated_at < period.end)
    movements = list(await session.scalars(inside.order_by(row.seq).limit(MOST_MOVEMENTS + 1)))
    if len(movements) > MOST_MOVEMENTS:
        raise ValidationFailed.of("end_time", f"must leave at most {MOST_MOVEMENTS} movements in the period")
    if movements:
        opening, closing = movements[0].credit_balance_before, movements[-1].credit_balance_after
    else:
        newest = chain.where(row.updated_at < period.start).order_by(row.seq.desc()).limit(1)
        last = await session.scalar(newest)
        opening = closing = last.credit_balance_after if last is not None else ZERO
    return WalletStatement(wallet, period, opening, closing, movements)


def as_csv(statement: WalletStatement) -> bytes:
    """A row for each movement between one for the opening and one for the closing balance; decimals as they are."""
    opening = _balance_row("opening", statement.period.start, statement.opening)
    closing = _balance_row("closing", statement.period.end, statement.closing)
    return csv_bytes(HEADS, [opening, *map(_row, statement.movements), closing])


def _balance_row(kind: str, at: datetime, balance: Decimal) -> list[str]:
    cells = dict.fromkeys(HEADS, "") | {"time": instant(at), "type": kind, "credit_balance_after": plain(balance)}
    return list(cells.values())


def _row(movement: WalletTransaction) -> list[str]:
    sign = "-" if movement.type is TransactionType.DEBIT else ""
    return [
        instant(movement.updated_at),
        movement.id,
        movement.type.value,
        movement.transaction_reason.value,
        inert(movement.description),
        sign + plain(movement.credit_amount),
        sign + plain(movement.amount),
        plain(movement.credit_balance_before),
        plain(movement.credit_balance_after),
        "" if movement.expiry_date is None else instant(movement.expiry_date),
        movement.reference_type.value,
        inert(movement.reference_id),
        movement.created_by,
    ]
