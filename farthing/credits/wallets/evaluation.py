"""Looking at real-time balances: wallets top themselves up, and their alert states follow.

A wallet is looked at soon after each of its movements and, because usage moves no wallet, every few minutes. One look
tops up once at most; the movement that makes causes the next look, so a deep deficit is filled in steps.
Rule: docs/rules/credits.md#automatic-top-ups
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import LEVELS, AlertState, state_of
from farthing.core.errors import FarthingError
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.enums import PURCHASES, TransactionStatus, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.reads.real_time import real_time_balances
from farthing.credits.wallets.automation import cooldown_of
from farthing.credits.wallets.movements import top_up_automatically
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import WalletBalanceAlertConfig
from farthing.invoices.receivable import UNPAID, BillingReason
from farthing.invoices.tables import Invoice
from farthing.storage.rows import in_array

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=5, seconds=30)
"""How often a wallet is looked at without any movement."""
MOST_IN_AN_HOUR = 100
"""Automatic top-ups of one wallet; a wallet that needs more has wrong settings, and waits."""
BATCH = 50
_HOUR = timedelta(hours=1)


async def evaluate_due(session: AsyncSession, now: datetime, batch: int = BATCH) -> int:
    """Look at the wallets whose time has come, the longest overdue first; how many there were, 0 when none is left."""
    general = await current.read(session, WalletBalanceAlertConfig)
    if general.alert_enabled:
        await _watch_those_without_settings(session, now)
    due = (Wallet.wallet_status == WalletStatus.ACTIVE, Wallet.evaluate_at <= now)
    overdue = select(Wallet.id).where(*due).order_by(Wallet.evaluate_at, Wallet.id).limit(batch)
    ids = (await session.scalars(overdue)).all()
    locked = await session.scalars(
        select(Wallet)
        .where(in_array(Wallet.id, ids), *due)
        .order_by(Wallet.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    wallets = locked.all()
    balances = await real_time_balances(session, wallets, now)
    granted = await _open_lots_credits(session, [wallet.id for wallet in wallets])
    environment = _general_settings(general)
    for wallet in wallets:
        settings = environment if wallet.alert_settings is None else wallet.alert_settings
        base = granted.get(wallet.id, ZERO)
        wallet.alert_state = alert_state(settings, balances[wallet.id].credits, base)
        wallet.credit_alert_state = alert_state(settings, wallet.credit_balance, base)
        watched = wallet.auto_topup_enabled or settings["alert_enabled"]
        wallet.evaluate_at = now + EVERY if watched else None
        await session.flush()
        await _top_up_if_low(session, wallet, balances[wallet.id].credits, now)
    return len(wallets)


async def any_is_looked_at(session: AsyncSession) -> bool:
    """Whether the environment has any wallet whose balance is looked at."""
    if (await current.read(session, WalletBalanceAlertConfig)).alert_enabled:
        return True
    return await session.scalar(select(Wallet.id).where(Wallet.evaluate_at.is_not(None)).limit(1)) is not None


async def _watch_those_without_settings(session: AsyncSession, now: datetime) -> None:
    await session.execute(
        update(Wallet)
        .where(
            Wallet.wallet_status == WalletStatus.ACTIVE, Wallet.alert_settings.is_(None), Wallet.evaluate_at.is_(None)
        )
        .values(evaluate_at=now)
        .execution_options(synchronize_session=False)
    )


def _general_settings(config: WalletBalanceAlertConfig) -> dict[str, Any]:
    """The settings of the environment in the form of a wallet's own."""
    thresholds = {
        level: {"threshold": plain(given.threshold), "condition": given.condition}
        for level in LEVELS
        if (given := getattr(config, level)) is not None
    }
    return {"alert_enabled": config.alert_enabled, **thresholds}


def alert_state(settings: Mapping[str, Any], credits: Decimal, granted: Decimal) -> AlertState:
    """Where `credits` stand; `granted` is what thresholds in per cent are of, and without it nothing is alarming.

    Rule: docs/rules/credits.md#alert-states
    """
    if not settings["alert_enabled"]:
        return AlertState.OK
    if settings.get("alert_threshold_type") != "percentage":
        return state_of(credits, dict(settings))
    if granted <= 0:
        return AlertState.OK
    return state_of(EXACT.divide(EXACT.multiply(credits, Decimal(100)), granted), dict(settings))


async def _open_lots_credits(session: AsyncSession, wallet_ids: list[str]) -> Mapping[str, Decimal]:
    """The credits with which the lots that are still open began, by wallet."""
    row = WalletTransaction
    query = (
        select(row.wallet_id, func.sum(row.credit_amount))
        .where(in_array(row.wallet_id, wallet_ids), row.credits_available > 0)
        .group_by(row.wallet_id)
    )
    return {wallet_id: granted for wallet_id, granted in await session.execute(query)}  # noqa: C416 (rows are no pairs)


async def _top_up_if_low(session: AsyncSession, wallet: Wallet, credits: Decimal, now: datetime) -> None:
    threshold = wallet.auto_topup_threshold
    if not wallet.auto_topup_enabled or threshold is None or credits > threshold:
        return
    wait = await _wait_until(session, wallet, now)
    if wait is not None:
        wallet.evaluate_at = min(wait, now + EVERY) if wait > now else now + EVERY
        return
    try:
        async with session.begin_nested():
            await top_up_automatically(session, wallet, new_id(Kind.WALLET_ALERT), now)
    except FarthingError as error:
        # one wallet that cannot be topped up must not stop the others
        wallet.evaluate_at = now + _HOUR
        log.exception("wallet.auto_topup_failed", wallet_id=wallet.id, reason=error.message)


async def _wait_until(session: AsyncSession, wallet: Wallet, now: datetime) -> datetime | None:
    """When a low wallet is looked at next instead of being topped up now; None when it is topped up."""
    row = WalletTransaction
    automatic = (row.wallet_id == wallet.id, row.automatic, row.transaction_status != TransactionStatus.FAILED)
    last = await session.scalar(select(row).where(*automatic).order_by(row.created_at.desc(), row.id.desc()).limit(1))
    if last is None:
        return None
    if last.transaction_status is TransactionStatus.PENDING or await _has_unpaid_top_up(session, wallet):
        return now + EVERY
    if now < last.created_at + cooldown_of(wallet):
        return last.created_at + cooldown_of(wallet)
    within_hour = (*automatic, row.created_at > now - _HOUR, row.transaction_reason.in_(PURCHASES))
    first, count = (await session.execute(select(func.min(row.created_at), func.count()).where(*within_hour))).one()
    if count >= MOST_IN_AN_HOUR:
        log.error("wallet.auto_topup_capped", wallet_id=wallet.id, most=MOST_IN_AN_HOUR)
        return first + _HOUR
    return now + EVERY if await _exceeds_monthly_limit(session, wallet, now) else None


async def _has_unpaid_top_up(session: AsyncSession, wallet: Wallet) -> bool:
    own = select(WalletTransaction.id).where(WalletTransaction.wallet_id == wallet.id, WalletTransaction.automatic)
    unpaid = select(Invoice.id).where(
        Invoice.customer_id == wallet.customer_id,
        text(UNPAID),
        Invoice.billing_reason == BillingReason.WALLET_AUTO_TOPUP,
        Invoice.wallet_transaction_id.in_(own),
    )
    return await session.scalar(unpaid.limit(1)) is not None


async def _exceeds_monthly_limit(session: AsyncSession, wallet: Wallet, now: datetime) -> bool:
    limit, amount = wallet.auto_topup_monthly_limit, wallet.auto_topup_amount
    if limit is None or amount is None:
        return False
    row = WalletTransaction
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    added = await session.scalar(
        select(func.coalesce(func.sum(row.credit_amount), 0)).where(
            row.wallet_id == wallet.id,
            row.automatic,
            row.created_at >= month,
            row.transaction_status != TransactionStatus.FAILED,
        )
    )
    return EXACT.add(added or ZERO, amount) > limit
