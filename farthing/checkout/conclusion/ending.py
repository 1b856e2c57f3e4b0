"""How a checkout ends: paid, failed, expired, cancelled. The only code that moves a session out of an open state.

Every function works under the session's lock, which is taken last: subscription, invoice, payment, session.
Rule: docs/rules/checkout.md#states
Rule: docs/rules/checkout.md#late-money
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.conclusion.completing import complete, drop
from farthing.checkout.events import record_checkout_event
from farthing.checkout.tables import CHECKOUT, OPEN, CheckoutSession
from farthing.core.checkout import CheckoutStatus, EntityCreationStatus
from farthing.core.clock import Clock
from farthing.core.errors import FarthingError
from farthing.invoices.lifecycle import transitions
from farthing.invoices.lifecycle.holding import release
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.creation import why_not_payable
from farthing.payments.processing.reconciliation import close_page
from farthing.payments.processing.voiding import withdraw
from farthing.payments.states import OPEN as OPEN_PAYMENT
from farthing.payments.tables import Payment
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import clock_of, ports_of, real_clock_of
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

CANCELLED = "The checkout was cancelled"
EXPIRED = "Nobody paid in time"


async def lock_subscription(session: AsyncSession, checkout_id: str) -> None:
    """Lock what a checkout changes and what is locked before its invoice."""
    await _lock_subscription(session, await find(session, CheckoutSession, checkout_id))


async def _lock_subscription(session: AsyncSession, checkout: CheckoutSession) -> None:
    if checkout.subscription_id is not None:
        await lock_row(session, Subscription, checkout.subscription_id)


async def lock_all(session: AsyncSession, checkout_id: str) -> tuple[CheckoutSession, Payment]:
    """Lock a session after everything that ending it changes. Raises NotFound."""
    seen = await find(session, CheckoutSession, checkout_id)
    await _lock_subscription(session, seen)
    await lock_row(session, Invoice, seen.invoice_id)
    payment = await lock_row(session, Payment, seen.payment_id)
    return await lock_row(session, CheckoutSession, checkout_id), payment


async def _locked(session: AsyncSession, payment: Payment) -> CheckoutSession:
    assert payment.checkout_session_id is not None
    return await lock_row(session, CheckoutSession, payment.checkout_session_id)


async def opened(session: AsyncSession, payment: Payment, closes_at: datetime | None, now: datetime) -> None:
    """The provider's page is there: the payer can be sent to it, until it closes or the session's time is over."""
    checkout = await _locked(session, payment)
    checkout.heard_at = now
    if checkout.checkout_status is not CheckoutStatus.INITIATED:
        return
    checkout.checkout_status = CHECKOUT.check(checkout.checkout_status, CheckoutStatus.PENDING)
    if closes_at is not None:
        checkout.provider_expires_at = closes_at
        left = max(closes_at - real_clock_of(session).now(), timedelta(0))
        checkout.expires_at = min(checkout.expires_at, now + left)
    await record_checkout_event(session, "initiated", checkout, payment)


async def heard(session: AsyncSession, payment: Payment, now: datetime) -> None:
    """The provider has said something about the payment."""
    (await _locked(session, payment)).heard_at = now


async def paid(session: AsyncSession, invoice: Invoice, payment: Payment, now: datetime) -> bool:
    """The money is there: do what was paid for, or note why it is not done. Whether the invoice has the money.

    What cannot be done any more is undone whole; a draft that was made for it is voided, and gives the money back.
    """
    checkout = await _locked(session, payment)
    if checkout.checkout_status not in OPEN:
        return await _late(session, checkout, invoice, payment)
    try:
        async with session.begin_nested():
            await complete(session, checkout, invoice, now, ports_of(session, InvoicePorts).hooks)
    except FarthingError as error:
        log.warning("checkout.not_done", checkout_session_id=checkout.id, reason=error.message)
        for row in (checkout, payment, invoice):
            await session.refresh(row)
        checkout.entity_status = EntityCreationStatus.FAILED_ALREADY_EXISTS
        await _end(session, checkout, payment, CheckoutStatus.FAILED, error.message, now)
        await session.refresh(invoice)
        return _takes_money(invoice)
    checkout.checkout_status = CHECKOUT.check(checkout.checkout_status, CheckoutStatus.COMPLETED)
    checkout.completed_at = now
    checkout.entity_status = EntityCreationStatus.CREATED
    await record_checkout_event(session, "completed", checkout, payment)
    return True


async def _late(session: AsyncSession, checkout: CheckoutSession, invoice: Invoice, payment: Payment) -> bool:
    """Money for a session that has ended: an issued invoice that still asks for it has it; else it goes back."""
    log.error("checkout.late_money", checkout_session_id=checkout.id, payment_id=payment.id)
    if checkout.entity_status is None and await _is_superseded(session, checkout):
        checkout.entity_status = EntityCreationStatus.SUPERSEDED
    return _takes_money(invoice)


def _takes_money(invoice: Invoice) -> bool:
    """Whether an invoice has money that came in: it asks for it, or is void, and gives it back by itself."""
    return invoice.invoice_status is InvoiceStatus.VOIDED or why_not_payable(invoice) is None


async def _is_superseded(session: AsyncSession, checkout: CheckoutSession) -> bool:
    """Whether a later session about the same was completed."""
    later = exists().where(
        CheckoutSession.subject_id == checkout.subject_id,
        CheckoutSession.id > checkout.id,  # ids grow with time
        CheckoutSession.checkout_status == CheckoutStatus.COMPLETED,
    )
    return bool(await session.scalar(select(later)))


async def failed(session: AsyncSession, payment: Payment, reason: str, now: datetime) -> None:
    """The provider says that nobody will pay."""
    checkout = await _locked(session, payment)
    if checkout.checkout_status in OPEN:
        await _end(session, checkout, payment, CheckoutStatus.FAILED, reason, now)


async def page_expired(session: AsyncSession, payment: Payment, now: datetime) -> None:
    """The provider has closed its page."""
    checkout = await _locked(session, payment)
    if checkout.checkout_status in OPEN:
        await _end(session, checkout, payment, CheckoutStatus.EXPIRED, EXPIRED, now)


async def withdrawn(session: AsyncSession, payment: Payment, now: datetime) -> None:
    """The payment was voided, because its invoice was."""
    checkout = await _locked(session, payment)
    if checkout.checkout_status in OPEN:
        checkout.cancelled_at = now
        await _end(session, checkout, payment, CheckoutStatus.FAILED, "Its invoice was voided", now)


async def give_up(session: AsyncSession, checkout_id: str, reason: str, now: datetime) -> None:
    """The page could not be made: nothing of the checkout stays, unless somebody has ended it meanwhile."""
    checkout, payment = await lock_all(session, checkout_id)
    if checkout.checkout_status in OPEN:
        await _end(session, checkout, payment, CheckoutStatus.FAILED, reason, now)


async def cancel(session: AsyncSession, checkout_id: str, now: datetime) -> CheckoutSession:
    """End an open checkout because somebody asked for it; cancelled before, it stays as it is.

    Raises NotFound, and InvalidOperation for one that has ended otherwise.
    """
    checkout, payment = await lock_all(session, checkout_id)
    if checkout.checkout_status is CheckoutStatus.FAILED and checkout.cancelled_at is not None:
        return checkout
    CHECKOUT.check(checkout.checkout_status, CheckoutStatus.FAILED, checkout_session_id=checkout.id)
    checkout.cancelled_at = now
    await _end(session, checkout, payment, CheckoutStatus.FAILED, CANCELLED, now)
    return checkout


async def cancel_and_close_page(session: AsyncSession, gateways: Gateways, checkout_id: str, clock: Clock) -> None:
    """The same for a request: commits, and has the provider close its page."""
    checkout = await cancel(session, checkout_id, clock.now())
    payment_id = checkout.payment_id
    await commit_midway(session)  # it is cancelled; the provider is asked to close its page next
    await close_page(session, gateways, payment_id, clock.now())


async def cancel_by_invoice(session: AsyncSession, checkout_id: str, now: datetime) -> None:
    """Cancel the checkout of a draft that is to be voided. Raises InvalidOperation when it was paid meanwhile."""
    await cancel(session, checkout_id, now)


async def expire(session: AsyncSession, checkout_id: str, now: datetime) -> bool:
    """End a session whose time is over; False for one that has ended meanwhile."""
    checkout, payment = await lock_all(session, checkout_id)
    if checkout.checkout_status not in OPEN or checkout.expires_at > now:
        return False
    await _end(session, checkout, payment, CheckoutStatus.EXPIRED, EXPIRED, now)
    return True


async def _end(
    session: AsyncSession, checkout: CheckoutSession, payment: Payment, to: CheckoutStatus, reason: str, now: datetime
) -> None:
    """Move an open session to its end without its effect: what waited is dropped, and its page is closed."""
    checkout.checkout_status = CHECKOUT.check(checkout.checkout_status, to, checkout_session_id=checkout.id)
    checkout.failure_reason = reason
    await session.flush()  # who is called below finds it ended
    await drop(session, checkout, now)
    invoice = await session.get_one(Invoice, checkout.invoice_id)
    if checkout.holds_draft:
        release(invoice)
        await session.flush()
        effects = ports_of(session, InvoicePorts).hooks
        await transitions.void(session, invoice, clock_of(session).now(), effects=effects)
    elif payment.payment_status in OPEN_PAYMENT:
        await withdraw(session, payment, invoice, now)
    await record_checkout_event(session, to.value, checkout, payment)
