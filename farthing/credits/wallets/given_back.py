"""Money that goes back to a customer as credits of the prepaid wallet."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.credits.enums import (
    CreditClass,
    ReferenceType,
    TransactionReason,
    WalletPriceType,
    WalletStatus,
    WalletType,
)
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.posting import CreditMovement, Origin, post
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.conversion import credits_for
from farthing.payments.ports import WalletCredit
from farthing.storage.rows import insert_if_new


async def credit_wallet(session: AsyncSession, credit: WalletCredit, now: datetime) -> str:
    """Put money that goes back into the customer's prepaid wallet of the currency, as one purchased lot that does not
    expire; a key that comes again changes nothing. The wallet's id.

    A frozen wallet takes it; where there is none, one is made. Raises InvalidOperation for less than any credit.
    Rule: docs/rules/credit-notes.md#into-the-wallet
    """
    wallet = await lock_prepaid_wallet(session, credit.customer_id, credit.currency)
    earlier = await session.scalar(
        select(WalletTransaction.wallet_id).where(WalletTransaction.system_key == credit.key)
    )
    if earlier is not None:
        return earlier
    converted = credits_for(credit.amount, wallet.conversion_rate)
    if converted <= ZERO:
        raise InvalidOperation(
            "the amount comes to no credits at the wallet's rate", {"wallet_id": wallet.id, "currency": wallet.currency}
        )
    given_back = CreditMovement(
        converted,
        TransactionReason.CREDIT_NOTE if credit.is_of_credit_note else TransactionReason.INVOICE_VOID_REFUND,
        Origin(
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


async def lock_prepaid_wallet(session: AsyncSession, customer_id: str, currency: str) -> Wallet:
    """The customer's open prepaid wallet of a currency, locked; made when there is none."""
    wallet = await _open(session, customer_id, currency)
    if wallet is not None:
        return wallet
    wallet = Wallet(
        id=new_id(Kind.WALLET),
        customer_id=customer_id,
        currency=currency,
        wallet_type=WalletType.PRE_PAID,
        wallet_status=WalletStatus.ACTIVE,
        name="Subscription Wallet",
        description="",
        meta={},
        allowed_price_types=[WalletPriceType.USAGE.value],
        conversion_rate=Decimal(1),
        topup_conversion_rate=Decimal(1),
        credit_balance=ZERO,
        balance=ZERO,
        last_seq=0,
    )
    if await insert_if_new(session, wallet):
        await record_wallet_event(session, "wallet.created", wallet)
        return wallet
    rival = await _open(session, customer_id, currency)
    assert rival is not None, "another transaction has just made it, and nobody can have closed it since"
    return rival


async def _open(session: AsyncSession, customer_id: str, currency: str) -> Wallet | None:
    query = (
        select(Wallet)
        .where(
            Wallet.customer_id == customer_id,
            Wallet.currency == currency,
            Wallet.wallet_type == WalletType.PRE_PAID,
            Wallet.wallet_status != WalletStatus.CLOSED,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).one_or_none()
