"""The wallet that takes what a subscription is granted: its customer's open prepaid one, made where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import AlreadyExists, FarthingError
from farthing.credits.enums import WalletPriceType, WalletStatus, WalletType
from farthing.credits.grants.tables import CreditGrant
from farthing.credits.ledger.tables import Wallet
from farthing.credits.wallets.lifecycle import create
from farthing.credits.wallets.schemas import CreateWalletRequest, WalletConfig
from farthing.storage.rows import in_array
from farthing.subscriptions.tables import Subscription


class WalletKey(NamedTuple):
    """What a customer has one open prepaid wallet for."""

    customer_id: str
    currency: str


def wallet_key(subscription: Subscription) -> WalletKey:
    """Whose wallet in which currency takes what a subscription is granted."""
    return WalletKey(subscription.customer_id, subscription.currency)


async def lock_target_wallets(
    session: AsyncSession, given: Sequence[tuple[Subscription, CreditGrant]], now: datetime
) -> dict[WalletKey, Wallet | str]:
    """The wallets of these subscriptions, fresh and locked in order of id; instead of one that cannot be made, why.

    A new wallet has the rates of the first grant that needs it.
    """
    if not given:
        return {}
    keys = {wallet_key(subscription) for subscription, _ in given}
    present = await _open_wallets(session, keys)
    refused: dict[WalletKey, Wallet | str] = {}
    for subscription, grant in given:
        key = wallet_key(subscription)
        if key not in present and key not in refused:
            reason = await _make(session, key, grant, now)
            present.update(await _open_wallets(session, {key}))
            if key not in present:
                refused[key] = reason or "the wallet was closed while it was looked for"
    ids = sorted(present.values())
    query = select(Wallet).where(in_array(Wallet.id, ids)).order_by(Wallet.id)
    locked = await session.scalars(query.with_for_update().execution_options(populate_existing=True))
    return {WalletKey(wallet.customer_id, wallet.currency): wallet for wallet in locked} | refused


async def _open_wallets(session: AsyncSession, keys: set[WalletKey]) -> dict[WalletKey, str]:
    rows = await session.execute(
        select(Wallet.customer_id, Wallet.currency, Wallet.id).where(
            in_array(Wallet.customer_id, {key.customer_id for key in keys}),
            Wallet.wallet_type == WalletType.PRE_PAID,
            Wallet.wallet_status != WalletStatus.CLOSED,
        )
    )
    found = {WalletKey(customer_id, currency): wallet_id for customer_id, currency, wallet_id in rows}
    return {key: found[key] for key in keys if key in found}


async def _make(session: AsyncSession, key: WalletKey, grant: CreditGrant, now: datetime) -> str | None:
    """Make the wallet; why it cannot be made, or None. Somebody else may have made it meanwhile, which is as well."""
    request = CreateWalletRequest(
        customer_id=key.customer_id,
        currency=key.currency,
        wallet_type=WalletType.PRE_PAID,
        config=WalletConfig(allowed_price_types=[WalletPriceType.USAGE]),
        conversion_rate=grant.conversion_rate,
        topup_conversion_rate=grant.topup_conversion_rate,
    )
    try:
        await create(session, request, now)
    except AlreadyExists:
        return None
    except FarthingError as error:
        return error.message
    return None
