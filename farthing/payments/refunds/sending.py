"""Asking providers to send money back, and what follows from what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, ZERO
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.locks import lock_payment
from farthing.payments.providers.interface import (
    Capability,
    Fatal,
    Provider,
    ProviderCharge,
    RefundFailure,
    Refusal,
    Retryable,
    SentBack,
)
from farthing.payments.refunds.records import (
    mark_cancelled,
    mark_failed,
    mark_succeeded,
    return_key,
    sum_by_hand,
    sum_sent,
)
from farthing.payments.refunds.sent_back import record_money_returned, record_money_sent_back
from farthing.payments.refunds.tables import REFUND, UNDERWAY, RefundDestination, RefundRecord, RefundStatus
from farthing.payments.refunds.unapplied import withdraw_unasked
from farthing.payments.tables import Payment
from farthing.storage.midway import commit_midway, progress_of
from farthing.storage.queries.rows import find, in_array, lock_row

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LockedRefund:
    """A refund with the invoice and the payment it belongs to, locked in their order."""

    refund: RefundRecord
    invoice: Invoice | None
    payment: Payment | None


class RefundPoint(msgspec.Struct):
    """Where a repeated request goes on: with the refunds that it recorded."""

    refund_ids: list[str]


async def lock_refund(session: AsyncSession, refund_id: str) -> LockedRefund:
    """Lock the invoice, then the payment, then the refund. Raises NotFound."""
    refund = await find(session, RefundRecord, refund_id)
    invoice = await lock_row(session, Invoice, refund.invoice_id) if refund.invoice_id else None
    payment = None
    if refund.unapplied_money_id is not None and refund.payment_id is not None:
        invoice, payment = await lock_payment(session, refund.payment_id)
    elif refund.payment_id is not None:
        payment = await lock_row(session, Payment, refund.payment_id)
    return LockedRefund(await lock_row(session, RefundRecord, refund_id), invoice, payment)


async def send_refunds(session: AsyncSession, gateways: Gateways, refund_ids: Sequence[str], now: datetime) -> None:
    """Ask the providers of refunds that wait; the session must have nothing that is not committed."""
    for refund_id in refund_ids:
        await send_refund(session, gateways, refund_id, now)


async def send_waiting(
    session: AsyncSession, gateways: Gateways, refund_ids: Sequence[str], point: msgspec.Struct, now: datetime
) -> None:
    """Commit, and ask providers for those of these refunds that wait; after a crash a repeat does, or the duty.

    `point` says to a repeat of the request what was recorded. A repeat also asks again for what was perhaps sent before
    the crash: the key is the same, so it is sent once.
    """
    await session.flush()
    progress = progress_of(session)
    is_repeat = progress is not None and progress.point is not None
    wanted = UNDERWAY if is_repeat else {RefundStatus.PENDING}
    waiting = await session.scalars(
        select(RefundRecord.id)
        .where(in_array(RefundRecord.id, refund_ids), RefundRecord.refund_status.in_(wanted))
        .order_by(RefundRecord.id)
    )
    waiting_ids = waiting.all()
    if waiting_ids:
        await commit_midway(session, point)  # the records last before a provider is asked
        await send_refunds(session, gateways, waiting_ids, now)


async def send_refund(
    session: AsyncSession, gateways: Gateways, refund_id: str, now: datetime
) -> SentBack | Refusal | None:
    """Ask a provider to send a refund back, once or again, and store what it answers; None if nobody has to be asked.

    The same key asks for the same refund however often it is sent. A provider that gives no clear answer leaves it
    PROCESSING, to be asked again; so does one that cannot be asked any more whether it sent it before.
    """
    asked = await _begin(session, gateways, refund_id, now)
    if asked is None:
        return None
    refund, charge_id, provider, is_repeat = asked
    assert refund.gateway_idempotency_token is not None, "a constraint keeps it with providers' refunds"
    answer = await provider.refund(charge_id, refund.amount, key=refund.gateway_idempotency_token)
    locked = await lock_refund(session, refund_id)
    is_unknown = isinstance(answer, Retryable) or (is_repeat and isinstance(answer, Fatal))
    if locked.refund.refund_status in UNDERWAY and not is_unknown:
        await _apply(session, locked, answer, now)
    await commit_midway(session)  # what the provider did lasts, whatever fails afterwards
    return answer


async def _begin(
    session: AsyncSession, gateways: Gateways, refund_id: str, now: datetime
) -> tuple[RefundRecord, str, Provider, bool] | None:
    """Mark a refund PROCESSING on disk before its provider is asked; the last tells whether it may have been before."""
    locked = await lock_refund(session, refund_id)
    refund, payment = locked.refund, locked.payment
    if refund.refund_status not in UNDERWAY or payment is None:
        await commit_midway(session)  # nothing was written; the locks are let go
        return None
    if refund.refund_status is RefundStatus.PENDING and _is_return(refund):
        # somebody else may have sent a part of it back before anybody asked for this
        refund.amount = max(EXACT.subtract(payment.amount, payment.refunded_amount), ZERO) or refund.amount
    if payment.payment_status in {PaymentStatus.VOIDED, PaymentStatus.REFUNDED}:
        await mark_cancelled(session, refund, now)
        await withdraw_unasked(session, payment)
        await commit_midway(session)  # the payment turned out to be none, or nothing of it is left
        return None
    is_repeat = refund.refund_status is RefundStatus.PROCESSING
    connection = await connection_to(session, refund.payment_gateway)
    provider = None if connection is None else gateways.behind(connection)
    if provider is None or Capability.REFUNDS not in provider.capabilities or payment.gateway_payment_id is None:
        if is_repeat:
            # it may have been sent before nobody could be asked any more: to say that it failed could pay it twice
            log.warning("refund.unreconciled", refund_id=refund.id, reason="its provider is no longer connected")
            await commit_midway(session)  # nothing was written; the locks are let go
            return None
        await mark_failed(session, refund, "The payment provider cannot send money back", now)
        await withdraw_unasked(session, payment)
        await commit_midway(session)  # nobody can be asked
        return None
    refund.refund_status = REFUND.check(refund.refund_status, RefundStatus.PROCESSING, refund_id=refund.id)
    refund.sent_at = now
    charge_id = payment.gateway_payment_id
    await commit_midway(session)  # before the provider hears of it: a crash must leave it to be asked about
    return refund, charge_id, provider, is_repeat


async def _apply(session: AsyncSession, locked: LockedRefund, answer: SentBack | Refusal, now: datetime) -> None:
    refund = locked.refund
    assert locked.payment is not None, "a provider's refund names its payment"
    if not isinstance(answer, SentBack):
        log.warning("refund.failed", refund_id=refund.id, reason=answer.message)
        await mark_failed(session, refund, answer.message, now)
        await withdraw_unasked(session, locked.payment)
        return
    refund.gateway_refund_id = answer.gateway_refund_id
    if answer.settled:
        in_all = EXACT.add(locked.payment.refunded_amount, refund.amount)
        await record_money_sent_back(session, locked.invoice, locked.payment, in_all, now)
        await complete_refund(session, locked, now)


async def complete_refund(session: AsyncSession, locked: LockedRefund, now: datetime) -> None:
    """The money of a locked refund is back; an invoice that never wanted it hears of it now."""
    refund, invoice = locked.refund, locked.invoice
    await mark_succeeded(session, refund, now)
    if _is_return(refund) and invoice is not None and invoice.invoice_status is InvoiceStatus.VOIDED:
        await transitions.note_returned(session, invoice, refund.amount, now)


def _is_return(refund: RefundRecord) -> bool:
    """Whether it sends back what an invoice never wanted; then the invoice does not know of it until it is done."""
    return refund.payment_id is not None and refund.idempotency_key == return_key(refund.payment_id)


async def settle_reported(
    session: AsyncSession, invoice: Invoice | None, payment: Payment, charge: ProviderCharge, now: datetime
) -> None:
    """A provider says what of a locked payment has gone back in all: the refunds that it names are settled, or where it
    names none those that the amount covers, the oldest first. What was given back by hand it does not know of."""
    reported = EXACT.add(charge.refunded, await sum_by_hand(session, payment))
    news = EXACT.subtract(reported, payment.refunded_amount)
    await record_money_sent_back(session, invoice, payment, reported, now)
    if news <= ZERO:
        return
    waiting = await session.scalars(
        select(RefundRecord)
        .where(
            RefundRecord.payment_id == payment.id,
            RefundRecord.refund_destination == RefundDestination.GATEWAY,
            RefundRecord.refund_status.in_(UNDERWAY),
        )
        .order_by(RefundRecord.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for refund in waiting.all():
        is_named = charge.refund_keys is None or refund.gateway_idempotency_token in charge.refund_keys
        if is_named and refund.amount <= news:
            news = EXACT.subtract(news, refund.amount)
            await complete_refund(session, LockedRefund(refund, invoice, payment), now)
    await withdraw_unasked(session, payment)


async def fail_reported(
    session: AsyncSession,
    invoice: Invoice | None,
    payment: Payment,
    charge: ProviderCharge,
    failure: RefundFailure,
    now: datetime,
) -> None:
    """A provider says that a refund of a locked payment did not reach the payer; of `charge` it says what did."""
    refund = await session.scalar(
        select(RefundRecord)
        .where(
            RefundRecord.payment_id == payment.id,
            RefundRecord.refund_destination == RefundDestination.GATEWAY,
            (RefundRecord.gateway_refund_id == failure.gateway_refund_id)
            | (RefundRecord.gateway_idempotency_token == failure.key),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if refund is not None and refund.refund_status in UNDERWAY:
        await mark_failed(session, refund, failure.reason, now)
    elif refund is not None and refund.refund_status is RefundStatus.SUCCEEDED:
        # it had arrived by the provider's own word
        log.error("refund.returned", refund_id=refund.id, reason=failure.reason)
        await mark_failed(session, refund, failure.reason, now)
        if _is_return(refund) and invoice is not None and invoice.invoice_status is InvoiceStatus.VOIDED:
            await transitions.note_returned(session, invoice, EXACT.minus(refund.amount), now)
    elif refund is None:
        log.warning("refund.unknown", payment_id=payment.id, gateway_refund_id=failure.gateway_refund_id)
    by_hand = await sum_by_hand(session, payment)
    in_all = EXACT.add(max(charge.refunded, await sum_sent(session, payment)), by_hand)
    await record_money_returned(session, invoice, payment, in_all, failure.reason)
    await withdraw_unasked(session, payment)
