"""Where a test clock has to stop: the instants at which a duty of billing would find something new to do.

Each is worked out from the rows, never from where the clock was put, so that a year in one jump, month by month or day
by day stops for the same things at the same instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, ScalarSelect, TextClause, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.billing.dunning.tables import DunningCase
from farthing.billing.periods.drafts import recomputable
from farthing.billing.ports import BillingPorts
from farthing.billing.run.renewal_notice import NOTICE, renews
from farthing.core.enums import Status
from farthing.credits.grants.enums import OPEN
from farthing.credits.grants.tables import CreditGrantApplication
from farthing.credits.ledger.expiry import GRACE
from farthing.credits.ledger.tables import WalletTransaction
from farthing.identity.settings.catalogue import DraftInvoiceRecomputeConfig, InvoiceConfig, SubscriptionConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import UNPAID, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.processing.reconciliation import PATIENCE
from farthing.payments.tables import Payment
from farthing.storage.postgres import ports_of
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription


class DueWork(StrEnum):
    """What may be due."""

    ROLL = "roll"
    COMPUTE = "compute"
    FINALIZE = "finalize"
    THRESHOLD = "threshold"
    RECOMPUTE = "recompute"
    GRACE = "grace"
    NOTICE = "notice"
    OVERDUE = "overdue"
    PAYMENT = "payment"
    COLLECT = "collect"
    LAST_LOOK = "last_look"
    EXPIRY = "expiry"
    GRANT = "grant"
    USAGE = "usage"
    CHECKOUT = "checkout"
    DUNNING = "dunning"


RECOMPUTED_AT = time(2, tzinfo=UTC)
"""When the duty that computes drafts again runs, every day."""
_AFTER = timedelta(microseconds=1)
_LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
_DRAFTS = (
    Invoice.status == Status.PUBLISHED,
    Invoice.invoice_status == InvoiceStatus.DRAFT,
    Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
    Invoice.awaits_checkout.is_(False),
)


@dataclass(frozen=True, slots=True)
class PendingWork:
    """How long after what an environment's duties act, as its settings say."""

    compute: timedelta
    finalize: timedelta
    grace: timedelta | None
    """None where nobody is cancelled for not paying."""
    recompute: bool

    @classmethod
    async def read(cls, session: AsyncSession) -> PendingWork:
        invoices, unpaid = await read(session, InvoiceConfig), await read(session, SubscriptionConfig)
        return cls(
            timedelta(seconds=invoices.compute_delay_seconds),
            timedelta(seconds=invoices.finalization_delay_seconds),
            timedelta(days=unpaid.grace_period_days) if unpaid.auto_cancellation_enabled else None,
            (await read(session, DraftInvoiceRecomputeConfig)).enabled,
        )


@dataclass(frozen=True, slots=True)
class DueInstant:
    """An instant, and what falls due at it."""

    at: datetime
    due: frozenset[DueWork]


async def next_due_instant(session: AsyncSession, after: datetime, waits: PendingWork) -> DueInstant | None:
    """The first instant after `after` at which something falls due; None when nothing ever does, as things stand.

    Thresholds of usage are not among them: those have to be searched for, see `thresholds.crossing`.
    """
    found = await _firsts(session, after, waits)
    if waits.recompute and await session.scalar(select(exists().where(*recomputable()))):
        found[DueWork.RECOMPUTE] = next_recompute(after)
    at = min(found.values(), default=None)
    return None if at is None else DueInstant(at, frozenset(work for work, moment in found.items() if moment == at))


async def left_over(session: AsyncSession, at: datetime, waits: PendingWork) -> DueInstant:
    """What has been due by `at` and was not done."""
    found = await _firsts(session, _LONG_AGO, waits)
    return DueInstant(at, frozenset(work for work, moment in found.items() if moment <= at))


async def _firsts(session: AsyncSession, after: datetime, waits: PendingWork) -> dict[DueWork, datetime]:
    """When each kind of work falls due first after `after`, in a few statements."""
    unpaid, invoice = text(UNPAID), Invoice
    wanted = [
        _DueColumn(DueWork.ROLL, Subscription.due_at),
        _DueColumn(DueWork.NOTICE, Subscription.current_period_end, -NOTICE, renews()),
        _DueColumn(DueWork.COMPUTE, invoice.period_end, waits.compute, (*_DRAFTS, invoice.last_computed_at.is_(None))),
        _DueColumn(DueWork.FINALIZE, invoice.last_computed_at, waits.finalize + _AFTER, _DRAFTS),
        _DueColumn(DueWork.COLLECT, invoice.collect_at, _AFTER),
        _DueColumn(DueWork.LAST_LOOK, invoice.recompute_at, _AFTER),
        _DueColumn(DueWork.OVERDUE, invoice.due_date, _AFTER, (unpaid, invoice.overdue_notified_at.is_(None))),
        _DueColumn(DueWork.EXPIRY, WalletTransaction.expiry_date, GRACE, (WalletTransaction.credits_available > 0,)),
        _DueColumn(DueWork.GRANT, CreditGrantApplication.next_attempt_at, where=_OPEN_GRANTS),
        _DueColumn(DueWork.DUNNING, DunningCase.next_at),
        _DueColumn(DueWork.PAYMENT, Payment.processing_since, PATIENCE + _AFTER, _PROCESSING),
    ]
    if waits.grace is not None:
        wanted.append(_DueColumn(DueWork.GRACE, invoice.due_date, waits.grace + _AFTER, (unpaid, _OF_ACTIVE)))
    row = (await session.execute(select(*[work.first(after) for work in wanted]))).one()
    firsts = {work.work: at + work.shift for work, at in zip(wanted, row, strict=True) if at is not None}
    ports = ports_of(session, BillingPorts)
    evaluation = await ports.usage_evaluations.find_next(session, after)
    if evaluation is not None:
        firsts[DueWork.USAGE] = evaluation
    expiry = await ports.checkout_expiry.find_next(session, after)
    if expiry is not None:
        firsts[DueWork.CHECKOUT] = expiry
    return firsts


_OPEN_GRANTS = (CreditGrantApplication.application_status.in_(OPEN),)
_PROCESSING = (Payment.payment_status == PaymentStatus.PROCESSING,)
_OF_ACTIVE = exists().where(
    Subscription.id == Invoice.subscription_id, Subscription.subscription_status == SubscriptionStatus.ACTIVE
)


@dataclass(frozen=True, slots=True)
class _DueColumn:
    """The work that falls due `shift` after `column`, of the rows that meet `where`."""

    work: DueWork
    column: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]
    shift: timedelta = timedelta(0)
    where: tuple[ColumnElement[bool] | TextClause, ...] = ()

    def first(self, after: datetime) -> ScalarSelect[datetime | None]:
        return select(func.min(self.column)).where(self.column > after - self.shift, *self.where).scalar_subquery()


def is_recompute(moment: datetime) -> bool:
    """Whether the duty that computes drafts again runs at this instant."""
    return moment.astimezone(UTC).timetz() == RECOMPUTED_AT


def next_recompute(after: datetime) -> datetime:
    """The next two o'clock (UTC) after `after`."""
    today = datetime.combine(after.astimezone(UTC).date(), RECOMPUTED_AT)
    return today if today > after else today + timedelta(days=1)
