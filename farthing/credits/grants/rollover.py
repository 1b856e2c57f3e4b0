"""What rolls over: of what earlier applications of a grant have left, a new one lets at most the grant's maximum stay.

The surplus goes once billing has caught up with the period that ended, so that its invoice still takes from it.
Rule: docs/rules/credits.md#rollover
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.core.enums import Status
from farthing.core.money import exact_sum
from farthing.credits.enums import TransactionReason
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, open_lots_of, post_all
from farthing.credits.ledger.tables import Wallet, WalletTransaction
from farthing.credits.rules.grants import surplus
from farthing.credits.rules.lots import lots_after, plan_debit
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.bulk import update_all
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
    due = [RolledOver(application, grant) for application, grant in rows.all()]
    behind = await _billing_is_behind(session, [rolled.application.id for rolled in due])
    ready = [rolled for rolled in due if rolled.application.id not in behind]
    await _take_surplus(session, ready, now)
    for rolled in ready:
        rolled.application.rollover_due = False
    await update_all(session, [rolled.application for rolled in ready])
    return len(ready)


@dataclass(frozen=True, slots=True)
class RolledOver:
    """An application, locked, whose grant lets a part of what earlier ones left stay beside it."""

    application: CreditGrantApplication
    grant: CreditGrant

    @property
    def lot_id(self) -> str:
        assert self.application.transaction_id is not None, "only what was applied rolls over"
        return self.application.transaction_id


async def _billing_is_behind(session: AsyncSession, application_ids: Sequence[str]) -> set[str]:
    """For which of these applications a period that ended by its beginning may still be invoiced to the customer."""
    table, own, other = CreditGrantApplication, aliased(Subscription), aliased(Subscription)
    unfinished = exists().where(
        Invoice.customer_id == own.customer_id,
        Invoice.currency == own.currency,
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.period_end <= table.period_start,
    )
    not_rolled = exists().where(
        other.customer_id == own.customer_id,
        other.status == Status.PUBLISHED,
        other.subscription_status == SubscriptionStatus.ACTIVE,
        other.current_period_end <= table.period_start,
    )
    query = select(table.id).join(own, own.id == table.subscription_id)
    return set(await session.scalars(query.where(in_array(table.id, application_ids), or_(unfinished, not_rolled))))


async def _take_surplus(session: AsyncSession, due: Sequence[RolledOver], now: datetime) -> None:
    """Let what is beyond the maximum of each grant expire, all at once; a later one counts what an earlier took."""
    if not due:
        return
    wallets = await _lock_wallets(session, [rolled.lot_id for rolled in due])
    lots = await open_lots_of(session, sorted({wallet.id for wallet in wallets.values()}))
    earlier = await _earlier_lots(session, [rolled.application.id for rolled in due])
    movements: list[tuple[Wallet, DebitMovement]] = []
    for rolled in due:
        wallet, start = wallets[rolled.lot_id], rolled.application.period_start
        carried = [
            lot
            for lot in lots.get(wallet.id, ())
            if lot.id in earlier[rolled.application.id] and lot.is_eligible(start)
        ]
        beyond = surplus(exact_sum([lot.available for lot in carried]), rolled.grant.rollover_maximum)
        if beyond > 0:
            plan = plan_debit(carried, beyond, start)
            lots[wallet.id] = lots_after(lots[wallet.id], plan)
            movements.append((wallet, DebitMovement(plan, TransactionReason.CREDIT_EXPIRED, _origin(rolled))))
    await post_all(session, movements, now)


def _origin(rolled: RolledOver) -> MovementOrigin:
    application, grant = rolled.application, rolled.grant
    return MovementOrigin(
        reference_id=application.id,
        description=f"{grant.name}: beyond what rolls over",
        metadata={"grant_id": grant.id, "cga_id": application.id},
        system_key=f"{application.id}_rollover",
    )


async def _lock_wallets(session: AsyncSession, lot_ids: Sequence[str]) -> dict[str, Wallet]:
    """The wallet of each lot, fresh and locked in ascending order of id, like by everybody who locks several."""
    row = WalletTransaction
    wallet_of = dict((await session.execute(select(row.id, row.wallet_id).where(in_array(row.id, lot_ids)))).all())
    wallets = await session.scalars(
        select(Wallet)
        .where(in_array(Wallet.id, sorted(set(wallet_of.values()))))
        .order_by(Wallet.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    by_id = {wallet.id: wallet for wallet in wallets}
    return {lot_id: by_id[wallet_id] for lot_id, wallet_id in wallet_of.items()}


async def _earlier_lots(session: AsyncSession, application_ids: Sequence[str]) -> dict[str, set[str]]:
    """The lots that earlier applications of the same grant were given, by application."""
    table, former = CreditGrantApplication, aliased(CreditGrantApplication)
    rows = await session.execute(
        select(table.id, former.transaction_id)
        .join(former, former.credit_grant_id == table.credit_grant_id)
        .where(
            in_array(table.id, application_ids),
            former.period_start < table.period_start,
            former.transaction_id.is_not(None),
        )
    )
    found: dict[str, set[str]] = defaultdict(set)
    for application_id, lot_id in rows:
        found[application_id].add(lot_id or "")
    return found
