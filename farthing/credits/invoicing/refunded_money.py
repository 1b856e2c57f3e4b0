"""Money that goes back to a customer as credits of the prepaid wallet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.enums import (
    CreditClass,
    ReferenceType,
    TransactionReason,
    WalletType,
)
from farthing.credits.invoicing.wallets import lock_or_open_wallet
from farthing.credits.ledger.posting import CreditMovement, MovementOrigin, post
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.rules.conversion import credits_paying
from farthing.payments.ports import WalletCredit


async def credit_wallet(session: AsyncSession, credit: WalletCredit, now: datetime) -> str:
    """Put money that goes back into the customer's prepaid wallet of the currency, as one purchased lot that does not
    expire; a key that comes again changes nothing. The wallet's id.

    A frozen wallet takes it; where there is none, one is made.
    Rule: docs/rules/credit-notes.md#into-the-wallet
    """
    wallet = await lock_or_open_wallet(session, credit.customer_id, credit.currency, WalletType.PRE_PAID)
    earlier = await session.scalar(
        select(WalletTransaction.wallet_id).where(WalletTransaction.system_key == credit.key)
    )
    if earlier is not None:
        return earlier
    given_back = CreditMovement(
        credits_paying(credit.amount, wallet.conversion_rate),
        TransactionReason.CREDIT_NOTE if credit.is_of_credit_note else TransactionReason.INVOICE_VOID_REFUND,
        MovementOrigin(
            reference_type=ReferenceType.INVOICE,
            reference_id=credit.invoice_id,
            description="Credit note" if credit.is_of_credit_note else "Refund of a voided invoice",
            system_key=credit.key,
        ),
        CreditClass.PURCHASED,
        amount=credit.amount,
    )
    await post(session, wallet, given_back, now)
    return wallet.id
