"""Credits for what was paid in advance and not had: they go into the payer's prepaid wallet.

Rule: docs/rules/credits.md#credits-for-unused-time
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.enums import CreditClass, ReferenceType, TransactionReason, WalletType
from farthing.credits.invoicing.wallets import lock_or_open_wallet
from farthing.credits.ledger.posting import CreditMovement, MovementOrigin, post_all
from farthing.credits.rules.conversion import credits_paying


@dataclass(frozen=True, slots=True)
class UnusedTimeCredit:
    """`amount`, above 0, with the tax on it, for a payer; `key` names it for ever, so that it is given once."""

    customer_id: str
    currency: str
    amount: Decimal
    key: str
    subscription_id: str
    reason: str


async def credit_payer(session: AsyncSession, credit: UnusedTimeCredit, now: datetime) -> str:
    """Put a credit into the payer's prepaid wallet, which is made where there is none; the transaction's id."""
    wallet = await lock_or_open_wallet(session, credit.customer_id, credit.currency, WalletType.PRE_PAID)
    origin = MovementOrigin(
        ReferenceType.REQUEST,
        credit.key,
        description=f"Unused time ({credit.reason})",
        metadata={"subscription_id": credit.subscription_id},
        system_key=credit.key,
    )
    movement = CreditMovement(
        credits_paying(credit.amount, wallet.conversion_rate),
        TransactionReason.SUBSCRIPTION_CREDIT_GRANT,
        origin,
        CreditClass.FREE,
        amount=credit.amount,
    )
    (row,) = await post_all(session, [(wallet, movement)], now)
    return row.id
