"""The unapplied money of a customer as it is shown, and the proof that it follows from its sources."""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import exact_sum, plain
from farthing.payments.unapplied.schemas import UnappliedBalanceResponse, UnappliedMoneyResponse
from farthing.payments.unapplied.tables import HAS_REST, UnappliedMoney


async def money_left(session: AsyncSession, customer_id: str) -> list[UnappliedMoney]:
    """What a customer has that stands on no invoice, by currency, oldest first."""
    await session.flush()
    query = select(UnappliedMoney).where(UnappliedMoney.customer_id == customer_id, text(HAS_REST))
    order = (UnappliedMoney.currency, UnappliedMoney.created_at, UnappliedMoney.id)
    return list(await session.scalars(query.order_by(*order)))


async def balances(session: AsyncSession, customer_id: str) -> list[UnappliedBalanceResponse]:
    """The same, summed by currency."""
    rows = await money_left(session, customer_id)
    answers = []
    for code, group in groupby(rows, key=lambda row: row.currency):
        money = list(group)
        answers.append(
            UnappliedBalanceResponse(
                currency=code,
                amount=plain(exact_sum([row.left for row in money])),
                money=[UnappliedMoneyResponse.of(row) for row in money],
            )
        )
    return answers
