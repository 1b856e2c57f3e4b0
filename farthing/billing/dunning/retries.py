"""Carrying out what cases have due: retries, and what ends those that nothing helped.

A step is taken in a transaction of its own, so that nobody else takes it for a while; a retry's payment is on disk
before its provider is asked, and the failure of that payment moves the case on in the transaction that stores it. So a
process may die anywhere: whoever takes the step up again, or repeats the request, finds the payment that it made.
Rule: docs/rules/dunning.md#once
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import ColumnElement, exists, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.cases import advance, end, end_with_invoice, lock_case
from farthing.billing.dunning.final_action import take_final_action
from farthing.billing.dunning.reads import next_step_of
from farthing.billing.dunning.schedule import DunningStep
from farthing.billing.dunning.tables import OPEN_CASES, DunningCase, DunningStatus
from farthing.core.clock import Clock
from farthing.core.errors import InvalidOperation
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus, is_unpaid
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.integrations.marketplaces import is_collected_by_marketplace
from farthing.payments.processing.collection import charge, collect_remaining, is_collected_elsewhere
from farthing.payments.processing.execution import pay_by_wallet
from farthing.payments.processing.voiding import require_nothing_in_flight
from farthing.payments.tables import Payment
from farthing.storage.connections.reasons import public_reason
from farthing.storage.midway import commit_midway, resume_point
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find, lock_row
from farthing.storage.scope import Scope

log = structlog.get_logger(__name__)

PAGE = 200
IN_HAND = timedelta(hours=1)
"""How long nobody else takes a step up that somebody has begun."""
NO_METHOD = "The customer has no payment method to charge"


def is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Which cases have a step due: not while a payment of the invoice is in flight, whose outcome says what is next."""
    in_flight = exists().where(
        Payment.destination_id == DunningCase.invoice_id, Payment.payment_status == PaymentStatus.PROCESSING
    )
    return DunningCase.next_at <= now, ~in_flight


async def carry_out_due(database: Database, scope: Scope, gateways: Gateways, clock: Clock) -> dict[str, str]:
    """Carry out every step that is due, each by itself: one that cannot be does not stop the others.

    Returns why some could not even be tried, by invoice.
    """
    failed: dict[str, str] = {}
    while page := [invoice_id for invoice_id in await _due(database, scope, clock) if invoice_id not in failed]:
        for invoice_id in page:
            try:
                async with database.session(scope, clock=clock) as session:
                    await carry_out(session, gateways, invoice_id, clock)
                    await session.commit()
            except Exception as error:  # whatever a provider does, the next invoice is another one
                log.exception("dunning.step_failed", invoice_id=invoice_id)
                failed[invoice_id] = public_reason(error)
    return failed


async def _due(database: Database, scope: Scope, clock: Clock) -> list[str]:
    async with database.transaction(scope, clock=clock, read_only=True) as session:
        due = select(DunningCase.invoice_id).where(*is_due(clock.now()))
        return list(await session.scalars(due.order_by(DunningCase.next_at, DunningCase.id).limit(PAGE)))


async def carry_out(session: AsyncSession, gateways: Gateways, invoice_id: str, clock: Clock) -> None:
    """Carry out the step of an invoice's case if it is due; commits on the way. Everything is looked at under the
    locks: somebody may have paid, or be doing the same."""
    taken = await _take(session, invoice_id, clock.now())
    if taken is None:
        return
    step, retries_made = taken
    if step is DunningStep.RETRY:
        await _retry(session, gateways, invoice_id, retries_made, clock)
    else:
        await take_final_action(session, invoice_id, clock.now())


async def _take(session: AsyncSession, invoice_id: str, now: datetime) -> tuple[DunningStep, int] | None:
    """Take a due step from everybody else for a while: which it is, and how many retries came before it. None where
    nothing is due."""
    invoice = await lock_row(session, Invoice, invoice_id)
    case = await lock_case(session, invoice_id)
    if case is None or case.next_at is None or case.next_at > now:
        return None
    if not is_unpaid(invoice):
        end_with_invoice(case, invoice, now)
        return None
    if await is_collected_by_marketplace(session, invoice.subscription_id):
        end(case, DunningStatus.ENDED, now)
        return None
    step, retries_made = next_step_of(case), case.retries_made
    assert step is not None, "a case with a due time has a step"
    case.next_at = now + IN_HAND
    await commit_midway(session)  # others see that it is in hand
    return step, retries_made


async def _retry(session: AsyncSession, gateways: Gateways, invoice_id: str, ordinal: int, clock: Clock) -> None:
    async def commit(payment: Payment) -> None:
        case = await lock_case(session, invoice_id)
        if case is not None and case.next_at is not None:
            case.payment_id = payment.id
        await commit_midway(session, RetryPoint(ordinal, payment.id))  # the payment says how far this has come

    invoice = await session.get_one(Invoice, invoice_id, populate_existing=True)
    if not await is_collected_elsewhere(session, invoice.subscription_id):
        await collect_remaining(session, gateways, invoice, clock, commit, wallet_stands_in=True)
    await _move_on(session, invoice_id, ordinal, clock)


async def _move_on(session: AsyncSession, invoice_id: str, ordinal: int, clock: Clock) -> None:
    """Plan what comes after a retry for which no payment could be made."""
    await commit_midway(session)
    invoice = await lock_row(session, Invoice, invoice_id)
    case = await lock_case(session, invoice_id)
    untouched = case is not None and case.case_status in OPEN_CASES and case.retries_made == ordinal
    if case is None or not untouched or not is_unpaid(invoice) or case.payment_id is not None:
        return  # the payment's outcome has moved it on, or will
    advance(case, clock.now(), NO_METHOD)


class RetryPoint(msgspec.Struct):
    """Where a repeated request goes on: with the retry it began, and with the payment that it made, if it did."""

    retries_made: int
    payment_id: str | None = None


async def retry_now(session: AsyncSession, gateways: Gateways, invoice_id: str, clock: Clock) -> None:
    """Make the next retry of an open case at once; a repeat of a request that was interrupted makes no second one.

    Raises NotFound, and InvalidOperation where no case is open, or while a payment is in flight.
    """
    point = resume_point(session, RetryPoint)
    if point is not None and point.payment_id is not None:
        await charge(session, gateways, await find(session, Payment, point.payment_id), clock)
        await pay_by_wallet(session, gateways, invoice_id, clock)
        await _move_on(session, invoice_id, point.retries_made, clock)
        return
    invoice = await lock_row(session, Invoice, invoice_id)
    if point is not None and not await _still_stands(session, invoice_id, point):
        return
    case = await _open_case(session, invoice_id)
    if case.retries_made >= len(case.retry_days):
        raise InvalidOperation("all retries of the invoice were made", {"invoice_id": invoice_id})
    await require_nothing_in_flight(session, invoice)
    case.case_status = DunningStatus.RETRYING
    case.next_at = clock.now()
    await commit_midway(session, RetryPoint(case.retries_made))
    await carry_out(session, gateways, invoice_id, clock)


async def _still_stands(session: AsyncSession, invoice_id: str, point: RetryPoint) -> bool:
    """Whether a retry that was begun is still to be made: nobody else has made it, or ended the case, meanwhile."""
    case = await lock_case(session, invoice_id)
    return case is not None and case.case_status in OPEN_CASES and case.retries_made == point.retries_made


async def stop(session: AsyncSession, invoice_id: str, now: datetime) -> DunningCase:
    """Try an invoice no more. Raises NotFound, and InvalidOperation where no case is open."""
    await lock_row(session, Invoice, invoice_id)
    case = await _open_case(session, invoice_id)
    end(case, DunningStatus.STOPPED, now)
    return case


async def _open_case(session: AsyncSession, invoice_id: str) -> DunningCase:
    case = await lock_case(session, invoice_id)
    if case is None or case.case_status not in OPEN_CASES:
        status = "none" if case is None else case.case_status.value
        raise InvalidOperation("the invoice is not being dunned", {"invoice_id": invoice_id, "dunning_status": status})
    return case


def retry_to_come(subscription_id: str) -> ColumnElement[bool]:
    """Whether a retry is still to come for an invoice of a subscription that is owed."""
    return exists().where(
        DunningCase.subscription_id == subscription_id,
        DunningCase.next_at.is_not(None),
        DunningCase.case_status == DunningStatus.RETRYING,
        text("retries_made < jsonb_array_length(retry_days)"),
        Invoice.id == DunningCase.invoice_id,
        Invoice.invoice_status == InvoiceStatus.FINALIZED,
    )
