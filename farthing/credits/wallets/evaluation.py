"""Looking at real-time balances: wallets top themselves up, and balances that are low are announced.

A wallet is looked at soon after each of its movements, when its customer has new usage, and every hour, because time
passes: lots expire, and periods end. One look tops up once at most; the movement that makes causes the next look, so a
deep deficit is filled in steps.
Rule: docs/rules/credits.md#automatic-top-ups
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import FarthingError
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO
from farthing.credits.enums import PURCHASES, TransactionStatus, WalletStatus
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.ports import CreditPorts
from farthing.credits.reads.real_time import real_time_balances
from farthing.credits.wallets.automation import cooldown_of
from farthing.credits.wallets.movements import top_up_automatically
from farthing.credits.wallets.thresholds import effective_settings
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import WalletBalanceAlertConfig
from farthing.invoices.receivable import UNPAID, BillingReason
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import in_array

log = structlog.get_logger(__name__)

WITHOUT_USAGE = timedelta(hours=1)
"""How often a wallet is looked at without a movement and new usage."""
EVERY = timedelta(minutes=5, seconds=30)
"""How often a wallet that is low is looked at while its last top-up waits."""
MOST_IN_AN_HOUR = 100
"""Automatic top-ups of one wallet; a wallet that needs more has wrong settings, and waits."""
BATCH = 50
_HOUR = timedelta(hours=1)


async def evaluate_due(session: AsyncSession, now: datetime, batch: int = BATCH) -> int:
    """Look at the wallets whose time has come, the longest overdue first; how many there were, 0 when none is left."""
    if (await current.read(session, WalletBalanceAlertConfig)).alert_enabled:
        await _watch_those_without_settings(session, now)
    due = (Wallet.wallet_status == WalletStatus.ACTIVE, Wallet.evaluate_at <= now)
    overdue = select(Wallet.id).where(*due).order_by(Wallet.evaluate_at, Wallet.id).limit(batch)
    ids = (await session.scalars(overdue)).all()
    wallets = select(Wallet).where(in_array(Wallet.id, ids), *due).order_by(Wallet.id)
    locked = await session.scalars(wallets.with_for_update(skip_locked=True).execution_options(populate_existing=True))
    return await _evaluate(session, locked.all(), now)


async def evaluate_customer(session: AsyncSession, customer_id: str, now: datetime) -> int:
    """Look at the active wallets of a customer, whether their time has come or not; how many there were."""
    own = (Wallet.customer_id == customer_id, Wallet.wallet_status == WalletStatus.ACTIVE)
    wallets = select(Wallet).where(*own).order_by(Wallet.id)
    locked = await session.scalars(wallets.with_for_update().execution_options(populate_existing=True))
    return await _evaluate(session, locked.all(), now)


async def _evaluate(session: AsyncSession, wallets: Sequence[Wallet], now: datetime) -> int:
    """Work out the real-time balances of locked wallets, and do what follows from each."""
    if not wallets:
        return 0
    balances = await real_time_balances(session, wallets, now)
    evaluated = [(wallet, balances[wallet.id]) for wallet in wallets]
    await ports_of(session, CreditPorts).balance_alerts.after_evaluation(session, evaluated, now)
    for wallet, balance in evaluated:
        settings = await effective_settings(session, wallet)
        watched = wallet.auto_topup_enabled or settings["alert_enabled"]
        wallet.evaluate_at = now + WITHOUT_USAGE if watched else None
        await session.flush()
        await _top_up_if_low(session, wallet, balance.credits, now)
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
