"""Money that becomes credits of a customer's prepaid wallet: what is refunded, and what unused time was worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.enums import CreditClass, ReferenceType, TransactionReason
from farthing.credits.invoicing.wallets import lock_or_open_wallet
from farthing.credits.ledger.opening import WalletKey
from farthing.credits.ledger.posting import CreditMovement, MovementOrigin, post_all
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.rules.conversion import credits_paying
from farthing.payments.ports import WalletCredit


@dataclass(frozen=True, slots=True)
class MoneyForWallet:
    """`amount`, above 0, for a customer's prepaid wallet. The system key of its origin names it for ever."""

    customer_id: str
    currency: str
    amount: Decimal
    origin: MovementOrigin
    reason: TransactionReason
    credit_class: CreditClass = CreditClass.PURCHASED


async def credit_prepaid_wallet(session: AsyncSession, money: MoneyForWallet, now: datetime) -> WalletTransaction:
    """Put money into the customer's prepaid wallet of the currency, as one lot that does not expire; a key that comes
    again changes nothing.

    A frozen wallet takes it; where there is none, one is made.
    Rule: docs/rules/credit-notes.md#into-the-wallet
    """
    wallet = await lock_or_open_wallet(session, WalletKey(money.customer_id, money.currency))
    earlier = await session.scalar(
        select(WalletTransaction).where(WalletTransaction.system_key == money.origin.system_key)
    )
    if earlier is not None:
        return earlier
    credits_given = credits_paying(money.amount, wallet.conversion_rate)
    movement = CreditMovement(credits_given, money.reason, money.origin, money.credit_class, amount=money.amount)
    (row,) = await post_all(session, [(wallet, movement)], now)
    return row


async def credit_wallet(session: AsyncSession, credit: WalletCredit, now: datetime) -> str:
    """Put what goes back of an invoice into its payer's prepaid wallet; the wallet's id."""
    of_note = credit.is_of_credit_note
    money = MoneyForWallet(
        credit.customer_id,
        credit.currency,
        credit.amount,
        MovementOrigin(
            ReferenceType.INVOICE,
            credit.invoice_id,
            description="Credit note" if of_note else "Refund of a voided invoice",
            system_key=credit.key,
        ),
        TransactionReason.CREDIT_NOTE if of_note else TransactionReason.INVOICE_VOID_REFUND,
    )
    return (await credit_prepaid_wallet(session, money, now)).wallet_id


async def credit_unused_time(
    session: AsyncSession, payer: WalletKey, amount: Decimal, settlement: MovementOrigin, now: datetime
) -> WalletTransaction:
    """Put what unused time was worth into its payer's prepaid wallet, as credits that nobody bought.

    Rule: docs/rules/credits.md#credits-for-unused-time
    """
    money = MoneyForWallet(
        payer.customer_id,
        payer.currency,
        amount,
        settlement,
        TransactionReason.SUBSCRIPTION_CREDIT_GRANT,
        CreditClass.FREE,
    )
    return await credit_prepaid_wallet(session, money, now)
