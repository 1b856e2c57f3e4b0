"""The wallet of an invoice's payer: found, locked, and made where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.credits.enums import WalletPriceType, WalletStatus, WalletType
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.tables import Wallet
from farthing.credits.wallets.lifecycle import PRICE_TYPES
from farthing.storage.rows import in_array, insert_if_new

NAME = "Subscription Wallet"


async def lock_open_wallets(session: AsyncSession, customer_id: str, currency: str) -> dict[WalletType, Wallet]:
    """The wallets of a customer in a currency that are not closed, by type, fresh and locked in order of id."""
    wallets = await session.scalars(
        select(Wallet)
        .where(
            Wallet.customer_id == customer_id,
            Wallet.currency == currency,
            Wallet.wallet_status != WalletStatus.CLOSED,
        )
        .order_by(Wallet.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {wallet.wallet_type: wallet for wallet in wallets}


async def lock_or_open_wallet(
    session: AsyncSession,
    customer_id: str,
    currency: str,
    wallet_type: WalletType,
    *,
    rate: Decimal = Decimal(1),
    topup_rate: Decimal = Decimal(1),
) -> Wallet:
    """The customer's open wallet of a currency and type, locked; one with these rates is made where there is none.

    Rule: docs/rules/credits.md#what-comes-back
    """
    while True:
        found = (await lock_open_wallets(session, customer_id, currency)).get(wallet_type)
        if found is not None:
            return found
        wallet = Wallet(
            id=new_id(Kind.WALLET),
            customer_id=customer_id,
            currency=currency,
            wallet_type=wallet_type,
            wallet_status=WalletStatus.ACTIVE,
            name=NAME,
            description="",
            meta={},
            allowed_price_types=[PRICE_TYPES[wallet_type].value],
            conversion_rate=rate,
            topup_conversion_rate=topup_rate,
            credit_balance=ZERO,
            balance=ZERO,
            last_seq=0,
            converted_from=None,
        )
        if await insert_if_new(session, wallet):
            await record_wallet_event(session, "wallet.created", wallet)
            return wallet


async def lock_active_wallets(session: AsyncSession, customer_ids: Sequence[str]) -> Sequence[Wallet]:
    """The active wallets of many customers, fresh and locked in order of id."""
    wallets = await session.scalars(
        select(Wallet)
        .where(
            in_array(Wallet.customer_id, customer_ids),
            Wallet.wallet_status == WalletStatus.ACTIVE,
        )
        .order_by(Wallet.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return wallets.all()


def serves(wallet: Wallet, price_type: WalletPriceType) -> bool:
    """Whether a wallet is for charges of a price type; one that names none, or all, is for every one."""
    return not wallet.allowed_price_types or not {price_type.value, WalletPriceType.ALL.value}.isdisjoint(
        wallet.allowed_price_types
    )


def reference_instant(period_end: datetime | None, now: datetime) -> datetime:
    """The instant as of which lots are judged for an invoice: the end of its period, or now if that lies ahead.

    Rule: docs/rules/credits.md#eligibility
    """
    return now if period_end is None else min(period_end, now)
