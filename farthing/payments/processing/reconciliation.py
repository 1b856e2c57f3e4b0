"""The payment reconciliation duty: payments whose outcome nobody told us, and money or pages to take back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.invoices.receivable import PaymentStatus
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.ports import PaymentPorts
from farthing.payments.processing import outcomes
from farthing.payments.processing.asking import find_account, lookup_of
from farthing.payments.providers.interface import (
    ChargeState,
    Declined,
    Fatal,
    PageClosed,
    Provider,
    ProviderCharge,
    Refusal,
    Retryable,
)
from farthing.payments.refunds.sending import send_refund
from farthing.payments.refunds.tables import UNDERWAY, RefundRecord
from farthing.payments.tables import Payment
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import ports_of

log = structlog.get_logger(__name__)

PATIENCE = timedelta(minutes=15)
"""How long a payment may be PROCESSING before its provider is asked."""

FIRST_HOUR, PAGE_LIFE, GIVEN_UP_AFTER = timedelta(hours=1), timedelta(days=1), timedelta(days=8)
"""When a payment that waits for its payer is asked about: most are paid within an hour, and pages close after a day."""

_PAGE = 100


async def reconcile(session: AsyncSession, gateways: Gateways, now: datetime) -> int:
    """Settle or fail every payment of the environment that has been PROCESSING for more than 15 minutes, and those that
    wait for their payer where a report may have been lost; send back money that nobody owed, close pages that were
    withdrawn. Returns how many payments were looked at.

    Each payment is a transaction of its own, and what a provider cannot answer now is asked again next time. May be
    run by several processes at once: every step is idempotent at the provider and checks the state under lock here.
    """
    stuck = (Payment.payment_status == PaymentStatus.PROCESSING) & (Payment.processing_since < now - PATIENCE)
    seen = await _each(session, gateways, stuck, now, _ask)
    seen += await _each(session, gateways, _waits_for_payer(now), now, _ask)
    seen += await _each(session, gateways, Payment.withdrawal_due.is_(True), now, _close_page)
    return seen + await _send_refunds(session, gateways, now)


def _waits_for_payer(now: datetime) -> ColumnElement[bool]:
    """Payments on a page of their provider's, in the first hour but its beginning, and once the page must be closed."""
    age = (Payment.created_at > now - FIRST_HOUR) & (Payment.created_at < now - PATIENCE)
    age |= (Payment.created_at > now - GIVEN_UP_AFTER) & (Payment.created_at < now - PAGE_LIFE)
    on_a_page = Payment.payment_gateway.is_not(None) & Payment.gateway_tracking_id.is_not(None)
    return (Payment.status == Status.PUBLISHED) & (Payment.payment_status == PaymentStatus.PENDING) & on_a_page & age


async def _send_refunds(session: AsyncSession, gateways: Gateways, now: datetime) -> int:
    """Ask providers for refunds that nobody has asked for yet, and again for those without an answer for 15 minutes."""
    last, seen = "", 0
    waits = RefundRecord.refund_status.in_(UNDERWAY) & (
        RefundRecord.sent_at.is_(None) | (RefundRecord.sent_at < now - PATIENCE)
    )
    while True:
        query = select(RefundRecord.id).where(waits, RefundRecord.id > last).order_by(RefundRecord.id).limit(_PAGE)
        refund_ids = (await session.scalars(query)).all()
        await commit_midway(session)
        for refund_id in refund_ids:
            try:
                await send_refund(session, gateways, refund_id, now)
            except FarthingError as error:
                # one refund that cannot be brought to an end must not keep the others from theirs
                await session.rollback()
                log.warning("refund.unreconciled", refund_id=refund_id, reason=error.message)
        seen += len(refund_ids)
        if len(refund_ids) < _PAGE:
            return seen
        last = refund_ids[-1]


Step = Callable[[AsyncSession, Gateways, Provider, Payment, datetime], Awaitable[None]]


async def _each(
    session: AsyncSession, gateways: Gateways, which: ColumnElement[bool], now: datetime, step: Step
) -> int:
    last, seen = "", 0
    while True:
        ids = (
            await session.scalars(select(Payment.id).where(which, Payment.id > last).order_by(Payment.id).limit(_PAGE))
        ).all()
        await commit_midway(session)
        for payment_id in ids:
            try:
                await _one(session, gateways, payment_id, now, step)
            except FarthingError as error:
                # one payment that cannot be brought to an end must not keep the others from theirs
                await session.rollback()
                log.warning("payment.unreconciled", payment_id=payment_id, reason=error.message)
        seen += len(ids)
        if len(ids) < _PAGE:
            return seen
        last = ids[-1]


async def _one(session: AsyncSession, gateways: Gateways, payment_id: str, now: datetime, step: Step) -> None:
    payment = await session.get_one(Payment, payment_id, populate_existing=True)
    connection = await connection_to(session, payment.payment_gateway) if payment.payment_gateway else None
    await commit_midway(session)
    if connection is None:
        log.warning("payment.unreconciled", payment_id=payment_id, reason="its provider is no longer connected")
        return
    await step(session, gateways, gateways.behind(connection), payment, now)


async def _ask(session: AsyncSession, gateways: Gateways, provider: Provider, payment: Payment, now: datetime) -> None:
    lookup = lookup_of(payment, await find_account(session, payment))
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    found = await provider.get_payment(lookup)
    if isinstance(found, (Declined, Retryable, Fatal)):
        log.warning("payment.unreconciled", payment_id=payment.id, reason=found.message)
        return
    invoice, payment = await outcomes.lock(session, payment.id)
    if payment.payment_status in {PaymentStatus.PROCESSING, PaymentStatus.PENDING}:
        if payment.checkout_session_id is not None:
            await ports_of(session, PaymentPorts).checkouts.heard(session, payment, now)
        if isinstance(found, PageClosed):
            await outcomes.page_closed(session, invoice, payment, now)
        elif found is None and payment.payment_status is PaymentStatus.PENDING:
            pass  # its payer has not been there yet
        elif found is None:
            collecting_waits_until = None if invoice is None else invoice.collect_at
            await outcomes.failed(session, invoice, payment, "The provider never received the charge", now)
            if invoice is not None:
                # nobody has refused to pay: a collection that was interrupted is tried again
                invoice.collect_at = collecting_waits_until
        elif found.state is ChargeState.SUCCEEDED:
            await outcomes.succeeded(session, gateways.effects, invoice, payment, now, found)
        elif found.state is ChargeState.FAILED:
            outcomes.note_charge(payment, found)
            reason = found.reason or "The charge failed"
            await outcomes.failed(session, invoice, payment, reason, now, code=found.code, is_hard=found.is_hard)
        else:
            await outcomes.wait_on(session, invoice, payment, found)
    await commit_midway(session)


async def close_page(session: AsyncSession, gateways: Gateways, payment_id: str, now: datetime) -> None:
    """Close the page of a payment that was withdrawn, at once; where that fails the duty does it later.

    The session must have nothing that is not committed.
    """
    try:
        if (await session.get_one(Payment, payment_id, populate_existing=True)).withdrawal_due:
            await _one(session, gateways, payment_id, now, _close_page)
    except FarthingError as error:
        await session.rollback()
        log.warning("payment.page_still_open", payment_id=payment_id, reason=error.message)


async def _close_page(
    session: AsyncSession, gateways: Gateways, provider: Provider, payment: Payment, now: datetime
) -> None:
    """Close a page; what was paid on it before, though nobody has told us, is recorded as what a report tells is."""
    found: ProviderCharge | PageClosed | Refusal | None = None
    if payment.gateway_tracking_id is not None:
        lookup = lookup_of(payment, await find_account(session, payment))
        await commit_midway(session)  # nothing was written; no connection waits for the provider
        found = await provider.cancel_link(payment.gateway_tracking_id, key=f"{payment.id}/cancel")
        if not isinstance(found, (Retryable, Fatal)):
            found = await provider.get_payment(lookup)
        if isinstance(found, (Retryable, Fatal)):
            log.warning("payment.page_still_open", payment_id=payment.id, reason=found.message)
            return
    invoice, payment = await outcomes.lock(session, payment.id)
    payment.withdrawal_due = False
    if isinstance(found, ProviderCharge) and found.state is ChargeState.SUCCEEDED:
        await outcomes.succeeded(session, gateways.effects, invoice, payment, now, found)
    await commit_midway(session)
