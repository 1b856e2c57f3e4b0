"""What a caller may change on a payment, and deleting one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, VersionConflict
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.locks import lock_payment
from farthing.payments.processing import outcomes
from farthing.payments.schemas import UpdatePaymentRequest
from farthing.payments.states import DELETABLE, OPEN, PAYMENT, SETTLING
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.storage.queries.rows import find, unique


async def update(
    session: AsyncSession, effects: InvoiceHooks, payment_id: str, given: UpdatePaymentRequest, now: datetime
) -> Payment:
    """Change what is given; a status that counts as paid settles the invoice in the same transaction.

    Raises InvalidOperation for a move the state table forbids, VersionConflict when the state changed while this
    request waited for its turn, AlreadyExists for a gateway's payment id that another payment has.
    """
    seen = (await find(session, Payment, payment_id)).payment_status
    invoice, payment = await lock_payment(session, payment_id)
    if payment.payment_status is not seen:
        raise VersionConflict(
            "The payment was changed by another request at the same time; please try again",
            {"payment_id": payment_id, "current_status": payment.payment_status.value},
        )
    if payment.status is not Status.PUBLISHED:
        raise InvalidOperation("payment was deleted", {"payment_id": payment_id})
    _leave_to_checkout(payment, given.payment_status)
    taken = AlreadyExists(
        "Another payment has this gateway_payment_id", {"gateway_payment_id": given.gateway_payment_id}
    )
    async with unique(session, uq_payments_gateway_payment=taken):
        _overwrite(payment, given)
    to = given.payment_status
    if to is None and given.gateway_payment_id and seen is PaymentStatus.INITIATED:
        to = PaymentStatus.PENDING
    if to is not None:
        await _move(session, effects, invoice, payment, to, now)
    for name in ("succeeded_at", "failed_at", "refunded_at", "voided_at"):
        moment = getattr(given, name)
        if moment is not None:
            setattr(payment, name, moment)
    await record_payment_event(session, "payment.updated", payment, invoice)
    return payment


def _leave_to_checkout(payment: Payment, to: PaymentStatus | None) -> None:
    """Refuse to end the payment of a checkout by hand: its provider does, or whoever ends the session."""
    if payment.checkout_session_id is not None and to is not None and payment.payment_status in OPEN and to not in OPEN:
        raise InvalidOperation(
            "the payment belongs to a checkout; its provider reports it, or cancel the checkout session",
            {"payment_id": payment.id, "checkout_session_id": payment.checkout_session_id},
        )


_RETURNED = frozenset({PaymentStatus.VOIDED, PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED})


def _overwrite(payment: Payment, given: UpdatePaymentRequest) -> None:
    if given.payment_gateway is not None:
        payment.payment_gateway = given.payment_gateway.value
    if given.gateway_payment_id:
        payment.gateway_payment_id = given.gateway_payment_id
    if given.payment_method_id is not None:
        if payment.payment_method_type is PaymentMethodType.OFFLINE and given.payment_method_id:
            raise InvalidOperation("an OFFLINE payment has no method id", {"payment_id": payment.id})
        if payment.payment_method_type is PaymentMethodType.CREDITS:
            raise InvalidOperation("the wallet of a payment cannot be changed", {"payment_id": payment.id})
        payment.payment_method_id = given.payment_method_id
    if given.metadata is not None:
        payment.meta = dict(given.metadata)
    if given.error_message is not None:
        payment.error_message = given.error_message


async def _move(
    session: AsyncSession,
    effects: InvoiceHooks,
    invoice: Invoice | None,
    payment: Payment,
    to: PaymentStatus,
    now: datetime,
) -> None:
    at = payment.payment_status
    PAYMENT.check(at, to, payment_id=payment.id)
    if at is to:
        return
    _require_movable(invoice, payment, to)
    payment.payment_status = to
    if to in SETTLING:
        payment.processing_since = None
        payment.succeeded_at = payment.succeeded_at or now
        if at not in SETTLING:
            await outcomes.receive(session, effects, invoice, payment, now)
    if to in {PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED}:
        payment.refunded_at = payment.refunded_at or now
    if to is PaymentStatus.FAILED:
        payment.processing_since = None
        payment.failed_at = payment.failed_at or now
        if invoice is not None and invoice.invoice_status is InvoiceStatus.FINALIZED:
            await session.flush()
            await transitions.payment_failed(session, invoice, now)
    if to is PaymentStatus.VOIDED:
        payment.voided_at = payment.voided_at or now
        await outcomes.take_back(session, effects, invoice, payment, now)


def _require_movable(invoice: Invoice | None, payment: Payment, to: PaymentStatus) -> None:
    """Raise InvalidOperation where money would move that a caller cannot move by setting a status."""
    by_credits = payment.payment_method_type is PaymentMethodType.CREDITS
    if by_credits and to in _RETURNED:
        raise InvalidOperation(
            "a payment by credits is returned by voiding or refunding its invoice, which gives the credits back",
            {"payment_id": payment.id},
        )
    if to not in SETTLING or payment.payment_status in SETTLING:
        return
    if by_credits:
        raise InvalidOperation(
            "a payment by credits succeeds by being processed, which takes the credits",
            {"payment_id": payment.id},
        )
    if invoice is not None and invoice.invoice_status in {InvoiceStatus.VOIDED, InvoiceStatus.SKIPPED}:
        raise InvalidOperation(
            f"the invoice is {invoice.invoice_status} and takes no payment", {"invoice_id": invoice.id}
        )


async def remove(session: AsyncSession, payment_id: str) -> None:
    """Archive a payment that moved nothing. Raises InvalidOperation for any other."""
    _, payment = await lock_payment(session, payment_id)
    if payment.status is not Status.PUBLISHED:
        raise InvalidOperation("payment was deleted already", {"payment_id": payment_id})
    if payment.payment_status not in DELETABLE:
        raise InvalidOperation(
            f"payment is {payment.payment_status}; only an INITIATED or FAILED one can be deleted",
            {"payment_id": payment_id, "current_status": payment.payment_status.value},
        )
    _leave_to_checkout(payment, PaymentStatus.VOIDED)
    payment.status = Status.ARCHIVED
