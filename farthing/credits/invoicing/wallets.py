"""The wallet of an invoice's payer: found, locked, and made where there is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.enums import WalletPriceType, WalletStatus, WalletType
from farthing.credits.ledger.events import record_wallet_event
from farthing.credits.ledger.opening import WalletKey, new_wallet
from farthing.credits.ledger.tables import Wallet
from farthing.invoices.tables import Invoice
from farthing.storage.queries.kept import KeptRows, RowLock, answer_to, kept_rows
from farthing.storage.queries.rows import in_array, in_given_array, insert_if_new


@dataclass(frozen=True, slots=True)
class OpeningTerms:
    """How a wallet is made where there is none: currency per credit when it is consumed and bought, and its name."""

    rate: Decimal = Decimal(1)
    topup_rate: Decimal = Decimal(1)
    name: str = "Subscription Wallet"


async def lock_open_wallets(session: AsyncSession, customer_id: str, currency: str) -> dict[WalletType, Wallet]:
    """The wallets of a customer in a currency that are not closed, by type, fresh and locked in order of id."""
    return {wallet.wallet_type: wallet for wallet in await _lock_open(session, {customer_id}, {currency})}


async def lock_wallets_of_invoice(session: AsyncSession, invoice: Invoice) -> None:
    """Lock the open wallets of an invoice's payer in its currency, and in that of its charges if it was converted."""
    await _lock_open(session, {invoice.customer_id}, {invoice.currency, invoice.charge_currency})


async def lock_wallets_in(session: AsyncSession, customer_id: str, currencies: Collection[str]) -> None:
    """Lock the open wallets of a customer in several currencies, in order of id."""
    await _lock_open(session, {customer_id}, currencies)


async def lock_or_open_wallet(session: AsyncSession, key: WalletKey, terms: OpeningTerms | None = None) -> Wallet:
    """The open wallet for a key, locked; one is made on these terms where there is none.

    Rule: docs/rules/credits.md#what-comes-back
    """
    return (await lock_or_open_wallets(session, {key: terms or OpeningTerms()}))[key]


async def lock_or_open_wallets(
    session: AsyncSession, wanted: Mapping[WalletKey, OpeningTerms]
) -> dict[WalletKey, Wallet]:
    """The open wallet for each key, all of them locked; those that are missing are made on the terms given."""
    if not wanted:
        return {}
    while True:
        locked = await _lock_open(session, {key.customer_id for key in wanted}, {key.currency for key in wanted})
        wallets = {WalletKey(wallet.customer_id, wallet.currency, wallet.wallet_type): wallet for wallet in locked}
        missing = [key for key in wanted if key not in wallets]
        for key in missing:
            terms = wanted[key]
            wallet = new_wallet(key, terms.rate, topup_conversion_rate=terms.topup_rate, name=terms.name)
            if not await insert_if_new(session, wallet):
                break  # somebody else has just made it
            await record_wallet_event(session, "wallet.created", wallet)
            wallets[key] = wallet
        else:
            return {key: wallets[key] for key in wanted}


async def _lock_open(
    session: AsyncSession, customer_ids: Collection[str], currencies: Collection[str]
) -> Sequence[Wallet]:
    wallets = await session.scalars(
        select(Wallet)
        .where(
            in_array(Wallet.customer_id, customer_ids),
            in_array(Wallet.currency, currencies),
            Wallet.wallet_status != WalletStatus.CLOSED,
        )
        .order_by(Wallet.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return wallets.all()


async def lock_active_wallets(session: AsyncSession, customer_ids: Sequence[str]) -> Sequence[Wallet]:
    """The active wallets of many customers, fresh and locked in order of id."""
    return await answer_to(session, _kept_active().asked(customers=list(customer_ids)))


@cache
def _kept_active() -> KeptRows[Wallet]:
    return kept_rows(
        Wallet,
        in_given_array(Wallet.customer_id, "customers"),
        Wallet.wallet_status == WalletStatus.ACTIVE,
        order=[Wallet.id],
        lock=RowLock.UPDATE,
    )


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
