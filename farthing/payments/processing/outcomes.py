"""What becomes of a payment: the only code that moves one to a final state, settles its invoice and records it.

Every function works on rows that `lock_payment` has locked, invoice first and payment second, and leaves the commit to
its caller, so that an outcome is one transaction.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, plain
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.ports import FailedCharge, PaymentPorts
from farthing.payments.processing.creation import CreatedPayment, why_not_payable
from farthing.payments.providers.interface import ChargeState, ProviderCharge
from farthing.payments.refunds.records import begin_return
from farthing.payments.states import PAYMENT, SETTLING, may_move_by_system
from farthing.payments.tables import Payment, PaymentAttempt, PaymentMethodType
from farthing.payments.unapplied.money import forget_payment, keep_payment
from farthing.storage.postgres import apply_defaults, ports_of, real_clock_of
from farthing.storage.queries.writing import write_together

log = structlog.get_logger(__name__)


async def record_success(
    session: AsyncSession,
    effects: InvoiceHooks,
    invoice: Invoice | None,
    payment: Payment,
    now: datetime,
    charge: ProviderCharge | None = None,
) -> None:
    """The money is there. Reported again, it changes nothing.

    What the provider captured is what counts, whatever was asked for. On an invoice that was voided meanwhile the
    money is recorded, and goes back as a refund.
    """
    if charge is not None:
        note_charge(payment, charge)
    if payment.payment_status in SETTLING:
        return
    if not may_move_by_system(payment.payment_status, PaymentStatus.SUCCEEDED):
        raise AssertionError(f"a payment cannot succeed from {payment.payment_status}")
    if charge is not None and charge.amount != payment.amount:
        payment.gateway_metadata = {**payment.gateway_metadata, "requested_amount": plain(payment.amount)}
        payment.amount = charge.amount
    if payment.status is Status.ARCHIVED:
        # it was deleted while its provider still could, and did, take the money
        payment.status = Status.PUBLISHED
        payment.idempotency_key = payment.id
    payment.payment_status = PaymentStatus.SUCCEEDED
    payment.succeeded_at = now
    payment.failed_at = payment.voided_at = None
    payment.error_message = None
    payment.processing_since = None
    await _attempt(session, payment, PaymentStatus.SUCCEEDED, None)
    if await _is_wanted(session, invoice, payment, now):
        await receive(session, effects, invoice, payment, now)
    await record_payment_event(session, "payment.success", payment, invoice)


async def _is_wanted(session: AsyncSession, invoice: Invoice | None, payment: Payment, now: datetime) -> bool:
    """Let the checkout of a payment that has just succeeded do what was paid for; False when the money goes back."""
    if payment.checkout_session_id is None:
        return True
    assert invoice is not None, "checkouts pay invoices"
    await session.flush()
    if await ports_of(session, PaymentPorts).checkouts.paid(session, invoice, payment, now):
        return True
    payment.success_recorded_at = real_clock_of(session).now()
    await begin_return(session, invoice, payment, now)
    return False


async def receive(
    session: AsyncSession, effects: InvoiceHooks, invoice: Invoice | None, payment: Payment, now: datetime
) -> None:
    """Let an invoice have the money of a payment that settles it.

    The invoice is looked at again, now that it is locked. What a gateway took although the invoice no longer wants it
    becomes a refund that waits; money that moved elsewhere is refused. Raises InvalidOperation.
    """
    payment.success_recorded_at = real_clock_of(session).now()
    if invoice is None:
        await keep_payment(session, payment)
        return
    await session.flush()
    if payment.gateway_payment_id is None:
        refusal = why_not_payable(invoice)
        if refusal is not None:
            raise InvalidOperation(refusal, {"invoice_id": invoice.id})
        money = transitions.ReceivedMoney(payment.amount, payment.currency)
        await transitions.receive(session, invoice, payment.id, money, now, effects=effects)
    else:
        await _receive_taken(session, effects, invoice, payment, now)
    payment.invoice_version = invoice.version


async def _receive_taken(
    session: AsyncSession, effects: InvoiceHooks, invoice: Invoice, payment: Payment, now: datetime
) -> None:
    money = transitions.ReceivedMoney(payment.amount, payment.currency)
    try:
        async with session.begin_nested():
            await transitions.receive(session, invoice, payment.id, money, now, effects=effects)
    except InvalidOperation as error:
        await session.refresh(invoice)
        log.warning("payment.unwanted", payment_id=payment.id, invoice_id=invoice.id, reason=error.message)
        await begin_return(session, invoice, payment, now)
    if invoice.invoice_status is InvoiceStatus.VOIDED:
        await begin_return(session, invoice, payment, now)


async def record_moved(session: AsyncSession, effects: InvoiceHooks, prepared: CreatedPayment, now: datetime) -> bool:
    """Store a payment of money that has moved elsewhere, with its success and all that follows from it, by one message.

    As `store` and `record_success` after it, for a payment that was prepared with the parts of its final invoice. False
    where its key has been used meanwhile: whoever asked undoes the transaction.
    """
    payment, invoice, parts = prepared.payment, prepared.invoice, prepared.parts
    assert invoice is not None, "parts are of an invoice"
    assert parts is not None
    apply_defaults(session, payment)
    await record_payment_event(session, "payment.created", payment, invoice)
    payment.payment_status = PaymentStatus.SUCCEEDED
    payment.succeeded_at = now
    payment.success_recorded_at = real_clock_of(session).now()
    money = transitions.ReceivedMoney(payment.amount, payment.currency)
    settlement = await transitions.receive_first(session, invoice, payment.id, money, now, effects=effects, parts=parts)
    payment.invoice_version = invoice.version
    if not await write_together(session, [payment, settlement], [invoice]):
        return False
    await record_payment_event(session, "payment.success", payment, invoice)
    return True


async def take_back(
    session: AsyncSession, effects: InvoiceHooks, invoice: Invoice | None, payment: Payment, now: datetime
) -> None:
    """Undo `receive`: the payment turned out not to be one. Raises InvalidOperation when money of it was used since.

    Rule: docs/rules/credit-notes.md#what-always-holds
    """
    await session.flush()
    await forget_payment(session, payment)
    if invoice is None:
        return
    kept = EXACT.subtract(invoice.amount_paid, payment.amount)
    if invoice.invoice_status is InvoiceStatus.FINALIZED and invoice.refunded_amount > max(kept, ZERO):
        raise InvalidOperation(
            "more was refunded on the invoice than would be paid without this payment",
            {"payment_id": payment.id, "invoice_id": invoice.id},
        )
    await session.execute(
        delete(PaymentSettlement).where(
            PaymentSettlement.invoice_id == invoice.id, PaymentSettlement.payment_id == payment.id
        )
    )
    await transitions.resettle(session, invoice, now, effects=effects)


async def record_failure(
    session: AsyncSession,
    invoice: Invoice | None,
    payment: Payment,
    reason: str,
    now: datetime,
    *,
    tried: bool = True,
    final: bool = True,
    code: str = "",
    is_hard: bool = False,
) -> None:
    """The money is not there. `tried` tells a refusal to pay, which the invoice shows, from a payment never tried.

    A failure that is not `final` is one attempt on a page that may still be paid. After a success it changes nothing.
    `is_hard`: the method will never work again.
    """
    if (
        not PAYMENT.allows(payment.payment_status, PaymentStatus.FAILED)
        or payment.payment_status is PaymentStatus.FAILED
    ):
        return
    payment.error_message = reason
    if tried:
        await _attempt(session, payment, PaymentStatus.FAILED, reason, code)
    if not final:
        return
    payment.payment_status = PaymentStatus.FAILED
    payment.failed_at = now
    payment.processing_since = None
    if invoice is not None and invoice.collect_at is not None and invoice.invoice_status is InvoiceStatus.FINALIZED:
        # in the same transaction, so that whoever goes on after a crash does not try once more
        invoice.collect_at = None
    if invoice is not None and tried and invoice.invoice_status is InvoiceStatus.FINALIZED:
        await session.flush()
        await transitions.payment_failed(session, invoice, now)
        failed_charge = FailedCharge(payment, reason, is_hard)
        await ports_of(session, PaymentPorts).record_failed_charge(session, invoice, failed_charge, now)
    await record_payment_event(session, "payment.failed", payment, invoice)
    if payment.checkout_session_id is not None:
        await ports_of(session, PaymentPorts).checkouts.failed(session, payment, reason, now)


async def record_closed_page(session: AsyncSession, invoice: Invoice | None, payment: Payment, now: datetime) -> None:
    """The page is closed and was not paid; a checkout ends with it."""
    if payment.checkout_session_id is not None:
        await ports_of(session, PaymentPorts).checkouts.page_expired(session, payment, now)
    else:
        await record_failure(session, invoice, payment, "The payment link expired", now, tried=False)


async def wait_on(session: AsyncSession, invoice: Invoice | None, payment: Payment, charge: ProviderCharge) -> None:
    """The charge is not decided. One that its payer has to confirm waits as a link does, with the page to do so."""
    note_charge(payment, charge)
    waits_for_payer = charge.state is ChargeState.REQUIRES_ACTION and charge.confirmation_url is not None
    if not waits_for_payer or payment.payment_status is not PaymentStatus.PROCESSING:
        return
    payment.payment_status = PaymentStatus.PENDING
    payment.processing_since = None
    payment.payment_url = charge.confirmation_url
    await record_payment_event(session, "payment.updated", payment, invoice)


def note_charge(payment: Payment, charge: ProviderCharge) -> None:
    """Remember what the provider calls a payment, and what a client needs to go on with it."""
    payment.gateway_payment_id = payment.gateway_payment_id or charge.gateway_payment_id
    payment.gateway_tracking_id = payment.gateway_tracking_id or charge.tracking_id
    if charge.details:
        payment.gateway_metadata = {**payment.gateway_metadata, **charge.details}


async def _attempt(
    session: AsyncSession, payment: Payment, status: PaymentStatus, reason: str | None, code: str = ""
) -> None:
    """Number the next attempt; the payment's lock keeps the numbers apart."""
    if not payment.track_attempts or payment.payment_method_type is PaymentMethodType.OFFLINE:
        return
    last = await session.scalar(
        select(func.coalesce(func.max(PaymentAttempt.attempt_number), 0)).where(PaymentAttempt.payment_id == payment.id)
    )
    session.add(
        PaymentAttempt(
            id=new_id(Kind.PAYMENT_ATTEMPT),
            payment_id=payment.id,
            attempt_number=(last or 0) + 1,
            payment_status=status,
            error_message=reason,
            meta={"code": code} if code else {},
        )
    )
