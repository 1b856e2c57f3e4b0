"""Lots that are past their expiry leave their wallets, once billing has had its chance to use them.

Rule: docs/rules/credits.md#expiry
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, and_, exists, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.money import ZERO
from farthing.credits.enums import ReferenceType, TransactionReason, WalletStatus, WalletType
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, post_all
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.lots import Consumption, ConsumptionPlan
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import SubscriptionStatus, SubscriptionType
from farthing.subscriptions.tables import Subscription

GRACE = timedelta(hours=6)
"""How long after its expiry a lot is left alone."""
LONGEST_WAIT = timedelta(days=30)
"""How long after its expiry a lot of a postpaid wallet waits for an invoice that is not paid."""
BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExpiredLot:
    """A lot to take out of its wallet: what is left of it, and when it expired."""

    id: str
    wallet_id: str
    available: Decimal
    expiry: datetime


async def expire_due(session: AsyncSession, now: datetime, batch: int = BATCH) -> int:
    """Debit what is left of the lots that expired longest ago; how many there were, 0 when none is left.

    A lot that billing has not caught up with stays for a later sweep. Run at once by several, each lot expires once.
    """
    lots = await _due_lots(session, now, batch)
    if not lots:
        return 0
    # in ascending order of id, like everybody who locks several wallets
    wallets = await session.scalars(
        select(Wallet)
        .where(in_array(Wallet.id, sorted({lot.wallet_id for lot in lots})))
        .order_by(Wallet.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    by_id = {wallet.id: wallet for wallet in wallets.all()}
    # what was left before the locks were held may have been consumed or swept since, or an invoice may have come
    held = await _due_lots(session, now, batch, [lot.id for lot in lots])
    await post_all(session, [(by_id[lot.wallet_id], _debit(lot)) for lot in held], now)
    return len(lots)


def _debit(lot: ExpiredLot) -> DebitMovement:
    origin = MovementOrigin(
        reference_type=ReferenceType.REQUEST,
        reference_id=lot.id,
        description="Credits expired",
        metadata={"expired_transaction_id": lot.id, "expiry_date": instant(lot.expiry)},
        parent_transaction_id=lot.id,
        system_key=lot.id,
    )
    plan = ConsumptionPlan((Consumption(lot.id, lot.available),), ZERO)
    return DebitMovement(plan, TransactionReason.CREDIT_EXPIRED, origin)


async def _due_lots(
    session: AsyncSession, now: datetime, batch: int, lot_ids: Sequence[str] | None = None
) -> list[ExpiredLot]:
    lot = WalletTransaction
    query = (
        select(lot.id, lot.wallet_id, lot.credits_available, lot.expiry_date)
        .join(Wallet, Wallet.id == lot.wallet_id)
        .where(
            lot.credits_available > 0,
            lot.expiry_date.is_not(None),
            lot.expiry_date <= now - GRACE,
            Wallet.wallet_status != WalletStatus.CLOSED,
            ~_billing_is_behind(now),
            ~_an_invoice_may_use_it(now),
        )
        # in the order of the index, so that however many are due, no more are looked at than the batch takes
        .order_by(lot.expiry_date)
        .limit(batch)
    )
    if lot_ids is not None:
        query = query.where(in_array(lot.id, lot_ids))
    lots = [
        ExpiredLot(lot_id, wallet_id, available, expiry)
        for lot_id, wallet_id, available, expiry in await session.execute(query)
        if expiry is not None
    ]
    return sorted(lots, key=lambda lot: (lot.expiry, lot.id))


def _billing_is_behind(now: datetime) -> ColumnElement[bool]:
    """A subscription that the wallet's customer pays for has a period that is over and not billed."""
    return exists().where(
        Subscription.payer_id == Wallet.customer_id,
        Subscription.status == Status.PUBLISHED,
        Subscription.subscription_status == SubscriptionStatus.ACTIVE,
        Subscription.subscription_type.in_(
            (SubscriptionType.STANDALONE, SubscriptionType.DELEGATED_INVOICING, SubscriptionType.PARENT)
        ),
        Subscription.current_period_end <= now,
    )


def _an_invoice_may_use_it(now: datetime) -> ColumnElement[bool]:
    """A draft of a period that the lot can pay for is not final yet; one that is final and not paid counts for wallets
    that pay invoices, for a while."""
    lot = WalletTransaction
    waits = and_(
        Wallet.wallet_type == WalletType.POST_PAID,
        Invoice.invoice_status == InvoiceStatus.FINALIZED,
        Invoice.amount_remaining > 0,
        lot.expiry_date > literal(now) - LONGEST_WAIT,
    )
    open_draft = and_(
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        or_(Invoice.amount_remaining > 0, Invoice.last_computed_at.is_(None)),
    )
    return exists().where(
        Invoice.customer_id == Wallet.customer_id,
        Invoice.currency == Wallet.currency,
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.period_end <= lot.expiry_date,
        or_(lot.valid_from.is_(None), lot.valid_from < Invoice.period_end),
        or_(open_draft, waits),
    )
