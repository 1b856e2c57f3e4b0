"""What moves a case: failed charges, new methods, and what ends it. Each runs under the lock of the invoice.

Rule: docs/rules/dunning.md#cases
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

from sqlalchemy import String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.schedule import next_step
from farthing.billing.dunning.tables import OPEN_CASES, DunningCase, DunningStatus
from farthing.billing.dunning.terms import DunningTerms, terms_of
from farthing.core.ids import Kind, new_id
from farthing.invoices.receivable import is_unpaid
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.marketplaces import is_collected_by_marketplace
from farthing.payments.ports import FailedCharge
from farthing.payments.tables import PaymentMethodType
from farthing.storage.postgres import clock_of
from farthing.storage.queries.kept import KeptRows, RowLock, answer_to, kept_rows
from farthing.subscriptions.enums import CollectionMethod
from farthing.subscriptions.tables import Subscription

_SAVED_METHODS = frozenset({PaymentMethodType.CARD, PaymentMethodType.ACH, PaymentMethodType.UPI})
_BEGUN_ANEW = frozenset({DunningStatus.RECOVERED, DunningStatus.ENDED})


async def record_failed_charge(session: AsyncSession, invoice: Invoice, failed: FailedCharge, now: datetime) -> None:
    """Open the case of a locked invoice whose charge has failed, or move it on where its own retry has.

    Called in the transaction that stores the failure. A charge that somebody made by hand beside an open case does not
    count as one of its retries.
    """
    if failed.payment.payment_method_type not in _SAVED_METHODS or not is_unpaid(invoice):
        return
    case = await lock_case(session, invoice.id)
    if case is None or case.case_status in _BEGUN_ANEW:
        await _open(session, invoice, case, failed, now)
    elif case.case_status in OPEN_CASES and case.payment_id == failed.payment.id:
        advance(case, now, failed.reason, may_retry=not failed.is_hard)


async def lock_case(session: AsyncSession, invoice_id: str) -> DunningCase | None:
    """The case of a locked invoice, locked, if it has one."""
    if any(isinstance(row, DunningCase) for row in (*session.new, *session.dirty)):
        await session.flush()
    with session.no_autoflush:  # what the invoice has become is written when all of it stands
        cases = await answer_to(session, _kept_case().asked(invoice_id=invoice_id))
    return cases[0] if cases else None


@cache
def _kept_case() -> KeptRows[DunningCase]:
    return kept_rows(DunningCase, DunningCase.invoice_id == bindparam("invoice_id", type_=String), lock=RowLock.UPDATE)


async def _open(
    session: AsyncSession, invoice: Invoice, case: DunningCase | None, failed: FailedCharge, now: datetime
) -> None:
    terms = await terms_of(session, invoice.customer_id)
    if not terms.is_enabled or not await _is_charged_automatically(session, invoice):
        return
    if case is None:
        case = DunningCase(id=new_id(Kind.DUNNING_CASE), invoice_id=invoice.id)
        session.add(case)
    _begin(case, invoice, terms, now)
    case.last_error = failed.reason
    _plan(case, now, may_retry=not failed.is_hard)


async def _is_charged_automatically(session: AsyncSession, invoice: Invoice) -> bool:
    if invoice.subscription_id is None:
        return False
    method = await session.scalar(
        select(Subscription.collection_method).where(Subscription.id == invoice.subscription_id)
    )
    automatic = method is CollectionMethod.CHARGE_AUTOMATICALLY
    return automatic and not await is_collected_by_marketplace(session, invoice.subscription_id)


def _begin(case: DunningCase, invoice: Invoice, terms: DunningTerms, now: datetime) -> None:
    case.customer_id = invoice.customer_id
    case.subscription_id = invoice.subscription_id or ""
    case.first_failed_at = now
    case.retry_days = list(terms.retry_days)
    case.final_action = terms.final_action
    case.retries_made = 0
    case.payment_id = None


def advance(case: DunningCase, now: datetime, reason: str, *, may_retry: bool = True) -> None:
    """A retry of an open, locked case has failed: plan what comes next."""
    case.retries_made += 1
    case.payment_id = None
    case.last_error = reason
    _plan(case, now, may_retry=may_retry)


def _plan(case: DunningCase, now: datetime, *, may_retry: bool) -> None:
    planned = next_step(case.first_failed_at, case.retry_days, case.retries_made, now, may_retry=may_retry)
    case.case_status = DunningStatus.RETRYING if may_retry else DunningStatus.WAITING_FOR_METHOD
    case.next_at = planned.at
    case.closed_at = None


async def close_case(session: AsyncSession, invoice_id: str, status: DunningStatus) -> None:
    """End the case of a locked invoice, if one is open."""
    case = await lock_case(session, invoice_id)
    if case is not None and case.case_status in OPEN_CASES:
        end(case, status, clock_of(session).now())


def end(case: DunningCase, status: DunningStatus, now: datetime) -> None:
    """End an open, locked case."""
    case.case_status = status
    case.next_at = None
    case.payment_id = None
    case.closed_at = now


def end_with_invoice(case: DunningCase, invoice: Invoice, now: datetime) -> None:
    """End an open, locked case whose locked invoice is unpaid no more."""
    end(case, DunningStatus.RECOVERED if invoice.amount_remaining <= 0 else DunningStatus.ENDED, now)


async def retry_with_new_method(session: AsyncSession, customer_id: str, now: datetime) -> None:
    """The payer has a new default method: what failed is tried again at once, on a schedule that begins anew.

    That holds for what is exhausted too, as long as it is owed; what somebody stopped stays so.
    """
    query = (
        select(DunningCase)
        .where(
            DunningCase.customer_id == customer_id,
            DunningCase.case_status.in_((*OPEN_CASES, DunningStatus.EXHAUSTED)),
        )
        .order_by(DunningCase.id)
    )
    for found in (await session.scalars(query)).all():
        invoice = await session.get(Invoice, found.invoice_id, with_for_update=True, populate_existing=True)
        case = await lock_case(session, found.invoice_id)
        if invoice is None or case is None or not is_unpaid(invoice):
            continue
        if case.case_status is DunningStatus.STOPPED:
            continue
        _begin(case, invoice, await terms_of(session, customer_id), now)
        case.case_status = DunningStatus.RETRYING
        case.next_at, case.closed_at = now, None
