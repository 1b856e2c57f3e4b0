"""Making records of refunds, and moving them along their states.

Rule: docs/rules/credit-notes.md#states-of-a-refund
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.events import record_refund_event
from farthing.payments.refunds.tables import (
    REFUND,
    UNDERWAY,
    RefundDestination,
    RefundReason,
    RefundRecord,
    RefundStatus,
)
from farthing.payments.tables import Payment
from farthing.payments.unapplied.money import put_back
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.storage.queries.rows import in_array, insert_if_new

BY_DISPUTE = "/dispute/"
"""What the key of money that a bank took back has behind the id of its payment."""


@dataclass(frozen=True, slots=True)
class RefundCause:
    """Why money of a locked invoice goes back. `key` names the cause for ever: its records are made once."""

    invoice: Invoice
    key: str
    reason: RefundReason = RefundReason.OTHER
    credit_note_id: str | None = None


@dataclass(frozen=True, slots=True)
class BalanceRefund:
    """Why money of a customer's balance goes back, and what the payer can tell it by."""

    reason: RefundReason
    reference: str | None
    key: str | None = None
    """Names the record for ever; without one it has a name of its own."""


@dataclass(frozen=True, slots=True)
class SourcePart:
    """`amount` that goes back by the way a locked payment came."""

    payment: Payment
    amount: Decimal


def return_key(payment_id: str) -> str:
    """The key under which money that nobody asked for goes back; its invoice hears of it when it has."""
    return f"{payment_id}/return"


def dispute_key(payment_id: str, dispute_id: str) -> str:
    """The key of the record of what a bank took back in a dispute."""
    return f"{payment_id}{BY_DISPUTE}{dispute_id}"[:100]


async def begin_return(session: AsyncSession, invoice: Invoice, payment: Payment, now: datetime) -> None:
    """Record that what a provider took for an invoice that no longer wants it goes back."""
    refund = new_record(RefundCause(invoice, return_key(payment.id)), payment.amount, RefundDestination.GATEWAY, now)
    name_gateway(refund, payment)
    refund.idempotency_key = refund.gateway_idempotency_token = return_key(payment.id)
    if await insert_if_new(session, refund):
        await record_refund_event(session, "refund.created", refund)


async def waiting_returns(session: AsyncSession, payment_id: str) -> list[str]:
    """The refund of a payment that its invoice did not want, while it waits for its provider."""
    query = select(RefundRecord.id).where(
        RefundRecord.idempotency_key == return_key(payment_id), RefundRecord.refund_status == RefundStatus.PENDING
    )
    return list(await session.scalars(query))


async def record_wallet_refund(
    session: AsyncSession, cause: RefundCause, amount: Decimal, wallet_id: str, now: datetime
) -> RefundRecord:
    """Record an amount that a wallet has been credited with."""
    refund = new_record(cause, amount, RefundDestination.WALLET, now)
    refund.refund_destination_id = wallet_id
    session.add(refund)
    await session.flush()
    await record_refund_event(session, "refund.created", refund)
    await mark_succeeded(session, refund, now)
    return refund


def new_record(cause: RefundCause, amount: Decimal, destination: RefundDestination, now: datetime) -> RefundRecord:
    """A refund that nobody has sent yet, not stored."""
    refund = _blank_record(amount, destination, now)
    refund.customer_id, refund.currency = cause.invoice.customer_id, cause.invoice.currency
    refund.invoice_id, refund.credit_note_id = cause.invoice.id, cause.credit_note_id
    refund.refund_reason = cause.reason
    refund.idempotency_key = f"{cause.key}/{refund.id}"
    return refund


def new_balance_refund(
    cause: BalanceRefund, money: UnappliedMoney, amount: Decimal, destination: RefundDestination, now: datetime
) -> RefundRecord:
    """A refund of locked money of a customer's balance, not stored."""
    refund = _blank_record(amount, destination, now)
    refund.customer_id, refund.currency = money.customer_id, money.currency
    refund.unapplied_money_id, refund.payment_id = money.id, money.payment_id
    refund.refund_reason, refund.reference = cause.reason, cause.reference
    refund.idempotency_key = cause.key or f"{money.id}/{refund.id}"
    return refund


def new_dispute_refund(payment: Payment, customer_id: str, amount: Decimal, now: datetime) -> RefundRecord:
    """The record of money that a payer's bank took back, not stored."""
    refund = _blank_record(amount, RefundDestination.OUT_OF_BAND, now)
    refund.customer_id, refund.payment_id, refund.currency = customer_id, payment.id, payment.currency
    refund.payment_gateway = payment.payment_gateway
    return refund


def _blank_record(amount: Decimal, destination: RefundDestination, now: datetime) -> RefundRecord:
    return RefundRecord(
        id=new_id(Kind.REFUND),
        amount=amount,
        settled_amount=ZERO,
        refund_status=RefundStatus.PENDING,
        refund_destination=destination,
        attempt=1,
        gateway_metadata={},
        meta={},
        initiated_at=now,
    )


def name_gateway(refund: RefundRecord, payment: Payment) -> None:
    """Let a refund go back through the provider of its payment."""
    refund.payment_id = payment.id
    refund.payment_gateway = payment.payment_gateway
    refund.gateway_tracking_id = payment.gateway_tracking_id
    refund.gateway_idempotency_token = refund.id


async def mark_succeeded(session: AsyncSession, refund: RefundRecord, now: datetime) -> None:
    """The money has gone back."""
    refund.refund_status = REFUND.check(refund.refund_status, RefundStatus.SUCCEEDED, refund_id=refund.id)
    refund.settled_amount = refund.amount
    refund.succeeded_at = now
    refund.failed_at = None
    refund.failure_reason = None
    await session.flush()
    await record_refund_event(session, "refund.succeeded", refund)


async def mark_failed(session: AsyncSession, refund: RefundRecord, reason: str, now: datetime) -> None:
    """The provider will not send the money back, or it did not reach the payer; a customer's balance has it
    again."""
    refund.refund_status = REFUND.check(refund.refund_status, RefundStatus.FAILED, refund_id=refund.id)
    refund.failure_reason = reason
    refund.failed_at = now
    refund.settled_amount, refund.succeeded_at = ZERO, None
    await _put_money_back(session, refund)
    await session.flush()
    await record_refund_event(session, "refund.failed", refund)


async def mark_cancelled(session: AsyncSession, refund: RefundRecord, now: datetime) -> None:
    """Nothing has to go back any more."""
    refund.refund_status = REFUND.check(refund.refund_status, RefundStatus.CANCELLED, refund_id=refund.id)
    refund.cancelled_at = now
    await _put_money_back(session, refund)


async def _put_money_back(session: AsyncSession, refund: RefundRecord) -> None:
    if refund.unapplied_money_id is not None:
        await put_back(session, refund.unapplied_money_id, refund.amount)


async def sum_underway(session: AsyncSession, payment_ids: Sequence[str]) -> dict[str, Decimal]:
    """What is on its way back through providers, by payment."""
    query = (
        select(RefundRecord.payment_id, func.sum(RefundRecord.amount))
        .where(
            in_array(RefundRecord.payment_id, payment_ids),
            RefundRecord.refund_destination == RefundDestination.GATEWAY,
            RefundRecord.refund_status.in_(UNDERWAY),
        )
        .group_by(RefundRecord.payment_id)
    )
    return {payment_id or "": amount for payment_id, amount in (await session.execute(query))}


async def sum_by_hand(session: AsyncSession, payment: Payment) -> Decimal:
    """What was given back by hand of a payment that a provider took."""
    if payment.gateway_payment_id is None:
        return ZERO
    query = select(func.coalesce(func.sum(RefundRecord.settled_amount), 0)).where(
        RefundRecord.payment_id == payment.id, RefundRecord.refund_destination == RefundDestination.OUT_OF_BAND
    )
    return await session.scalar(query) or ZERO


async def sum_sent(session: AsyncSession, payment: Payment) -> Decimal:
    """What providers have sent back of a payment because they were asked here."""
    query = select(func.coalesce(func.sum(RefundRecord.settled_amount), 0)).where(
        RefundRecord.payment_id == payment.id, RefundRecord.refund_destination == RefundDestination.GATEWAY
    )
    return await session.scalar(query) or ZERO


async def refunds_of_invoice(session: AsyncSession, invoice_id: str) -> list[RefundRecord]:
    """The refunds of an invoice, oldest first."""
    query = select(RefundRecord).where(RefundRecord.invoice_id == invoice_id)
    return list(await session.scalars(query.order_by(RefundRecord.created_at, RefundRecord.id)))
