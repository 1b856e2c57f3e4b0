"""The payment reconciliation duty: payments whose outcome nobody told us, and money or pages to take back.

Rule: docs/rules/invoices-and-payments.md#pages-nobody-told-of
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Function, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.invoices.receivable import PaymentStatus
from farthing.payments.integrations.gateways import Gateways, connection_to
from farthing.payments.locks import lock_payment
from farthing.payments.processing import inbound, outcomes
from farthing.payments.processing.asking import find_account, lookup_of
from farthing.payments.providers.interface import (
    ChargeState,
    Declined,
    Fatal,
    Provider,
    Refusal,
    Report,
    ReportKind,
    Retryable,
)
from farthing.payments.refunds.sending import send_refund
from farthing.payments.refunds.tables import UNDERWAY, RefundRecord
from farthing.payments.tables import Payment
from farthing.storage.midway import commit_midway

log = structlog.get_logger(__name__)

PATIENCE = timedelta(minutes=15)
"""How long a payment may be PROCESSING, or wait for its payer on a page, before its provider is asked."""
PAGES_ASKED = timedelta(days=30)
"""How long its provider is asked about a page that stays open."""

_PAGE = 100


async def reconcile(session: AsyncSession, gateways: Gateways, now: datetime) -> int:
    """Settle or fail every payment of the environment that has been PROCESSING, or has waited for its payer on a page,
    for more than 15 minutes and that its provider has decided; send back money that nobody owed, close pages that were
    withdrawn. Returns how many payments were looked at.

    Each payment is a transaction of its own, and what a provider cannot answer now is asked again next time. May be
    run by several processes at once: every step is idempotent at the provider and checks the state under lock here.
    """
    stuck = (Payment.payment_status == PaymentStatus.PROCESSING) & (Payment.processing_since < now - PATIENCE)
    seen = await _each(session, gateways, stuck, now, _ask)
    seen += await _each(session, gateways, _page_is_due(now), now, _ask_page)
    seen += await _each(session, gateways, Payment.withdrawal_due.is_(True), now, _close_page)
    return seen + await _send_refunds(session, gateways, now)


def _page_is_due(now: datetime) -> ColumnElement[bool]:
    """A page nobody has told the end of: asked after when it is 15 minutes old, then whenever it is a quarter older,
    so that what was paid is found soon and a page that stays open for weeks is asked about a few dozen times."""
    asked_at = Payment.processing_since
    return (
        (Payment.payment_status == PaymentStatus.PENDING)
        & Payment.gateway_tracking_id.is_not(None)
        & Payment.payment_url.is_not(None)
        & (Payment.status == Status.PUBLISHED)
        & Payment.created_at.between(now - PAGES_ASKED, now - PATIENCE)
        & (
            asked_at.is_(None)
            | ((asked_at <= now - PATIENCE) & (4 * _seconds(now - asked_at) >= _seconds(asked_at - Payment.created_at)))
        )
    )


def _seconds(span: ColumnElement[Any]) -> Function[Any]:
    return func.date_part("epoch", span)


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
    invoice, payment = await lock_payment(session, payment.id)
    if payment.payment_status is PaymentStatus.PROCESSING:
        if found is None:
            collecting_waits_until = None if invoice is None else invoice.collect_at
            await outcomes.record_failure(session, invoice, payment, "The provider never received the charge", now)
            if invoice is not None:
                # nobody has refused to pay: a collection that was interrupted is tried again
                invoice.collect_at = collecting_waits_until
        elif found.state is ChargeState.SUCCEEDED:
            await outcomes.record_success(session, gateways.effects, invoice, payment, now, found)
        elif found.state is ChargeState.FAILED:
            outcomes.note_charge(payment, found)
            reason = found.reason or "The charge failed"
            await outcomes.record_failure(
                session, invoice, payment, reason, now, code=found.code, is_hard=found.is_hard
            )
        else:
            await outcomes.wait_on(session, invoice, payment, found)
    await commit_midway(session)


async def ask_page(session: AsyncSession, gateways: Gateways, payment_id: str, now: datetime) -> None:
    """Let what has happened on a payment's page take effect, although no webhook told of it; commits.

    The session must have nothing that is not committed. A provider that does not answer changes nothing.
    """
    await _one(session, gateways, payment_id, now, _ask_page)


async def _ask_page(
    session: AsyncSession, gateways: Gateways, provider: Provider, payment: Payment, now: datetime
) -> None:
    payment_id = payment.id
    if payment.gateway_tracking_id is None:
        return  # there is no page, and nobody who was sent to it
    report = await _report_of_page(session, provider, payment)
    if isinstance(report, Report):
        await inbound.apply_report(session, gateways, payment, report, now)
    elif report is None:
        waits = (Payment.id == payment_id) & (Payment.payment_status == PaymentStatus.PENDING)
        await session.execute(update(Payment).where(waits).values(processing_since=now))
        await commit_midway(session)
    else:
        log.warning("payment.unreconciled", payment_id=payment_id, reason=report.message)


async def _report_of_page(session: AsyncSession, provider: Provider, payment: Payment) -> Report | Refusal | None:
    lookup = lookup_of(payment, await find_account(session, payment))
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    report = await provider.ask_page(lookup)
    return await inbound.follow_up(provider, report) if isinstance(report, Report) else report


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
    if payment.gateway_tracking_id is not None:
        closed = await provider.cancel_link(payment.gateway_tracking_id, key=f"{payment.id}/cancel")
        if isinstance(closed, (Retryable, Fatal)):
            log.warning("payment.page_still_open", payment_id=payment.id, reason=closed.message)
            return
        # it may have been paid before, with nobody telling: that money is in the books, or goes back
        report = await _report_of_page(session, provider, payment)
        if isinstance(report, (Retryable, Fatal)):
            log.warning("payment.page_still_open", payment_id=payment.id, reason=report.message)
            return
        if isinstance(report, Report) and report.kind is ReportKind.PAYMENT_SUCCEEDED:
            await inbound.apply_report(session, gateways, payment, report, now)
    _, payment = await lock_payment(session, payment.id)
    payment.withdrawal_due = False
    await commit_midway(session)
