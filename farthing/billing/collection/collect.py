"""Collecting subscriptions' invoices, once the transaction that made them is over.

An invoice waits in `collect_at` from the transaction that made it payable until somebody has tried to collect it:
whoever made it so, right afterwards, or the next run.
Rule: docs/rules/subscriptions.md#collection
Rule: docs/rules/invoices-and-payments.md#automatic-collection
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Update, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.periods.finalize import waits_for_payment
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.collection import collect_remaining, is_collected_elsewhere
from farthing.payments.tables import Payment
from farthing.storage.connections.reasons import public_reason
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find, lock_row
from farthing.storage.scope import Scope
from farthing.subscriptions.enums import CollectionMethod, PaymentBehavior, SubscriptionStatus
from farthing.subscriptions.lifecycle import discard
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

PAGE = 200
AGAIN = timedelta(hours=1)
"""When a try that was interrupted, or could not even be made, is made again."""

_PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED})


async def collect(
    session: AsyncSession,
    gateways: Gateways,
    invoice_ids: Iterable[str],
    clock: Clock,
    *,
    goes_on: bool = False,
) -> None:
    """Try to collect invoices that wait for it and are charged automatically; a try that fails is no error.

    Commits before and around each call of a provider. `goes_on`: a request that was interrupted here takes its own
    invoices up again, also the one it had in hand; a charge in flight is asked about, not made a second time. A
    subscription that waits for its opening becomes active when it is paid; no other status is changed, least of all one
    that is over.
    """

    async def commit(payment: Payment) -> None:
        await commit_midway(session)  # the payment says how far this has come: a repeat, or the next run, finds it

    for invoice_id in invoice_ids:
        if not await _take(session, invoice_id, clock.now(), also_in_hand=goes_on):
            continue
        invoice = await session.get_one(Invoice, invoice_id, populate_existing=True)
        subscription = await find(session, Subscription, invoice.subscription_id or "")
        owed = invoice.payment_status not in _PAID and invoice.amount_remaining > 0
        automatic = subscription.collection_method is CollectionMethod.CHARGE_AUTOMATICALLY
        if owed and automatic and not await is_collected_elsewhere(session, subscription.id):
            stands_in = not waits_for_payment(subscription)
            await collect_remaining(session, gateways, invoice, clock, commit, wallet_stands_in=stands_in)
        await session.execute(_unmarked(Invoice.id == invoice_id))


async def collect_due(database: Database, scope: Scope, gateways: Gateways, clock: Clock) -> dict[str, str]:
    """Try to collect every invoice that waits for it, each by itself: one that cannot be does not stop the others.

    Returns why some could not even be tried, by invoice.
    """
    async with database.session(scope, clock=clock) as session:
        # those that nobody has to be asked for leave at once
        await session.execute(_unmarked(Invoice.collect_at <= clock.now(), _NOTHING_TO_TRY))
        await session.commit()
    failed: dict[str, str] = {}
    while page := await _due(database, scope, clock):
        for invoice_id in page:
            try:
                async with database.session(scope, clock=clock) as session:
                    await collect(session, gateways, [invoice_id], clock)
                    await session.commit()
            except Exception as error:  # whatever a provider does, the next invoice is another one
                log.exception("invoice.not_collected", invoice_id=invoice_id)
                failed[invoice_id] = public_reason(error)
        if len(page) < PAGE:
            break
    return failed


_FINAL = Invoice.invoice_status == InvoiceStatus.FINALIZED
_NOTHING_TO_TRY = or_(
    Invoice.amount_remaining <= 0,
    ~exists().where(
        Subscription.id == Invoice.subscription_id,
        Subscription.collection_method == CollectionMethod.CHARGE_AUTOMATICALLY,
    ),
)


async def _due(database: Database, scope: Scope, clock: Clock) -> list[str]:
    async with database.transaction(scope, clock=clock, read_only=True) as session:
        waiting = select(Invoice.id).where(_FINAL, Invoice.collect_at <= clock.now())
        return list(await session.scalars(waiting.order_by(Invoice.collect_at, Invoice.id).limit(PAGE)))


async def _take(session: AsyncSession, invoice_id: str, now: datetime, *, also_in_hand: bool) -> bool:
    """Take a waiting invoice from everybody else, for a while; False when it does not wait, or somebody has it."""
    waits = Invoice.collect_at.is_not(None) if also_in_hand else Invoice.collect_at <= now
    taken = await session.scalar(
        update(Invoice)
        .where(Invoice.id == invoice_id, _FINAL, waits)
        .values(collect_at=now + AGAIN)
        .returning(Invoice.id)
        .execution_options(synchronize_session=False)
    )
    await commit_midway(session)  # others see that it is in hand
    return taken is not None


def _unmarked(*where: ColumnElement[bool]) -> Update:
    return (
        update(Invoice)
        .where(_FINAL, Invoice.collect_at.is_not(None), *where)
        .values(collect_at=None)
        .execution_options(synchronize_session=False)
    )


async def require_paid(
    session: AsyncSession, gateways: Gateways, subscription_id: str, invoice_ids: Iterable[str], now: datetime
) -> None:
    """Undo a creation that must not stand without its payment. Raises InvalidOperation "payment failed" then.

    The provider had to be asked outside of the transaction that made it, so undoing is an act of its own: the invoice
    is voided and the subscription deleted, with its children and all that was made with it. Undone before, it stays so.
    """
    subscription = await session.get_one(Subscription, subscription_id, with_for_update=True, populate_existing=True)
    if subscription.status is Status.DELETED:
        raise _unpaid(subscription_id)
    waits = subscription.subscription_status is SubscriptionStatus.INCOMPLETE
    if not waits or subscription.payment_behavior is not PaymentBehavior.ERROR_IF_INCOMPLETE:
        return
    for invoice_id in invoice_ids:
        invoice = await lock_row(session, Invoice, invoice_id)
        if invoice.invoice_status is not InvoiceStatus.VOIDED:
            await transitions.void(session, invoice, now, effects=gateways.effects)
    await discard.roll_back_creation(session, subscription)
    await commit_midway(session)  # it is undone, although the answer is an error
    raise _unpaid(subscription_id)


def _unpaid(subscription_id: str) -> InvalidOperation:
    return InvalidOperation("payment failed", {"subscription_id": subscription_id})
