"""Collecting subscriptions' invoices, once the transaction that made them is over.

Rule: subscriptions, "collection and payment behaviour"; payments, "attempting a payment".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.invoices import lifecycle
from farthing.invoices.standing import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.collection import charge_saved_method, collected_elsewhere
from farthing.payments.gateways import Gateways
from farthing.storage.postgres import Database
from farthing.storage.rows import find, locked
from farthing.storage.scope import Scope
from farthing.subscriptions import undoing
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.words import CollectionMethod, PaymentBehavior, SubscriptionStatus

log = structlog.get_logger(__name__)

_PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED})


async def collect(session: AsyncSession, gateways: Gateways, invoice_ids: Iterable[str], clock: Clock) -> None:
    """Try to collect claims of subscriptions that are charged automatically; a try that fails is no error.

    Commits around each call of a provider. A subscription that waits for its opening becomes active when it is paid;
    no other status is changed, least of all one that is over.
    """
    for invoice_id in invoice_ids:
        invoice = await find(session, Invoice, invoice_id)
        if invoice.invoice_status is not InvoiceStatus.FINALIZED or invoice.subscription_id is None:
            continue
        if invoice.payment_status in _PAID or invoice.amount_remaining <= 0:
            continue
        subscription = await find(session, Subscription, invoice.subscription_id)
        if subscription.collection_method is not CollectionMethod.CHARGE_AUTOMATICALLY:
            continue
        if not await collected_elsewhere(session):
            await charge_saved_method(session, gateways, invoice, clock)


async def collect_each(
    database: Database, scope: Scope, gateways: Gateways, invoice_ids: Iterable[str], clock: Clock
) -> dict[str, str]:
    """The same after a run, each by itself: one that cannot be collected does not keep the others from it.

    Returns why some could not even be tried, by invoice.
    """
    failed = {}
    for invoice_id in invoice_ids:
        try:
            async with database.session(scope, clock=clock) as session:
                await collect(session, gateways, [invoice_id], clock)
                await session.commit()
        except Exception as error:  # whatever a provider does, the next invoice is another one
            log.exception("invoice.not_collected", invoice_id=invoice_id)
            failed[invoice_id] = (
                error.message if isinstance(error, FarthingError) else f"{type(error).__name__}: {error}"
            )
    return failed


async def demand_paid(
    session: AsyncSession, gateways: Gateways, subscription_id: str, invoice_ids: Iterable[str], now: datetime
) -> None:
    """Undo a creation that must not stand without its payment. Raises InvalidOperation "payment failed" then.

    The provider had to be asked outside of the transaction that made it, so undoing is an act of its own: the invoice
    is voided and the subscription deleted, with its children and all that was made with it.
    """
    subscription = await locked(session, Subscription, subscription_id)
    waits = subscription.subscription_status is SubscriptionStatus.INCOMPLETE
    if not waits or subscription.payment_behavior is not PaymentBehavior.ERROR_IF_INCOMPLETE:
        return
    for invoice_id in invoice_ids:
        invoice = await locked(session, Invoice, invoice_id)
        if invoice.invoice_status is not InvoiceStatus.VOIDED:
            await lifecycle.void(session, invoice, now, effects=gateways.effects)
    await undoing.undo(session, subscription)
    await session.commit()
    raise InvalidOperation("payment failed", {"subscription_id": subscription_id})
