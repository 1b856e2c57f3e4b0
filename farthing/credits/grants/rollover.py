"""What rolls over: of what earlier applications of a grant have left, a new one lets at most the grant's maximum stay.

The surplus goes once billing has caught up with the period that ended, so that its invoice still takes from it.
Rule: docs/rules/credits.md#rollover
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.money import exact_sum
from farthing.credits.enums import TransactionReason
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, lock_wallet, open_lots, post
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.rules.grants import surplus
from farthing.credits.rules.lots import plan_debit
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription


async def settle_rollovers(session: AsyncSession, application_ids: Sequence[str], now: datetime) -> int:
    """Bring down what is carried over each of these applications; those that billing is behind are left. How many were
    dealt with."""
    table = CreditGrantApplication
    subscriptions = await session.scalars(
        select(Subscription)
        .where(Subscription.id.in_(select(table.subscription_id).where(in_array(table.id, application_ids))))
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    by_id = {subscription.id: subscription for subscription in subscriptions}
    rows = await session.execute(
        select(table, CreditGrant)
        .join(CreditGrant, CreditGrant.id == table.credit_grant_id)
        .where(in_array(table.id, application_ids), in_array(table.subscription_id, by_id), table.rollover_due)
        .order_by(table.period_start, table.id)
        .with_for_update(of=table)
        .execution_options(populate_existing=True)
    )
    settled = 0
    for application, grant in rows.all():
        if await _billing_is_behind(session, by_id[application.subscription_id], application.period_start):
            continue
        await _take_surplus(session, application, grant, now)
        application.rollover_due = False
        settled += 1
    await session.flush()
    return settled


async def _billing_is_behind(session: AsyncSession, subscription: Subscription, at: datetime) -> bool:
    """Whether a period that ended by `at` may still be invoiced to the subscription's customer."""
    unfinished = exists().where(
        Invoice.customer_id == subscription.customer_id,
        Invoice.currency == subscription.currency,
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.period_end <= at,
    )
    not_rolled = exists().where(
        Subscription.customer_id == subscription.customer_id,
        Subscription.status == Status.PUBLISHED,
        Subscription.subscription_status == SubscriptionStatus.ACTIVE,
        Subscription.current_period_end <= at,
    )
    return bool(await session.scalar(select(or_(unfinished, not_rolled))))


async def _take_surplus(
    session: AsyncSession, application: CreditGrantApplication, grant: CreditGrant, now: datetime
) -> None:
    assert application.transaction_id is not None, "only what was applied rolls over"
    lot = await session.get_one(WalletTransaction, application.transaction_id)
    wallet = await lock_wallet(session, lot.wallet_id)
    table = CreditGrantApplication
    earlier = set(
        await session.scalars(
            select(table.transaction_id).where(
                table.credit_grant_id == grant.id,
                table.period_start < application.period_start,
                table.transaction_id.is_not(None),
            )
        )
    )
    lots = [lot for lot in await open_lots(session, wallet.id) if lot.id in earlier]
    lots = [lot for lot in lots if lot.is_eligible(application.period_start)]
    beyond = surplus(exact_sum([lot.available for lot in lots]), grant.rollover_maximum)
    if beyond <= 0:
        return
    origin = MovementOrigin(
        reference_id=application.id,
        description=f"{grant.name}: beyond what rolls over",
        metadata={"grant_id": grant.id, "cga_id": application.id},
        system_key=f"{application.id}_rollover",
    )
    plan = plan_debit(lots, beyond, application.period_start)
    await post(session, wallet, DebitMovement(plan, TransactionReason.CREDIT_EXPIRED, origin), now)
