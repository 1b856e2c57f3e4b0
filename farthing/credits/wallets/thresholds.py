"""Which thresholds the balance of a wallet is held against, and what those in per cent are of.

Rule: docs/rules/alerts.md#settings-of-a-wallet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import LEVELS
from farthing.core.money import plain
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import WalletBalanceAlertConfig
from farthing.storage.queries.rows import in_array


async def effective_settings(session: AsyncSession, wallet: Wallet) -> Mapping[str, Any]:
    """A wallet's own settings, else those of the environment."""
    if wallet.alert_settings is not None:
        return wallet.alert_settings
    config = await current.read(session, WalletBalanceAlertConfig)
    thresholds = {
        level: {"threshold": plain(given.threshold), "condition": given.condition}
        for level in LEVELS
        if (given := getattr(config, level)) is not None
    }
    return {"alert_enabled": config.alert_enabled, **thresholds}


async def granted_credits(session: AsyncSession, wallet_ids: Sequence[str]) -> Mapping[str, Decimal]:
    """The credits with which the lots that are still open began, by wallet; one without any is left out."""
    row = WalletTransaction
    query = (
        select(row.wallet_id, func.sum(row.credit_amount))
        .where(in_array(row.wallet_id, wallet_ids), row.credits_available > 0)
        .group_by(row.wallet_id)
    )
    return {wallet_id: granted for wallet_id, granted in await session.execute(query)}  # noqa: C416 (rows are no pairs)
