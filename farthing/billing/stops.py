"""Where a test clock has to stop: the instants at which a duty of billing would find something new to do.

Each is worked out from the rows, never from where the clock was put, so that a year in one jump, month by month or day
by day stops for the same things at the same instants.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from sqlalchemy import ColumnElement, TextClause, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.billing.dunning import NOTICE, renews
from farthing.billing.recomputing import recomputable
from farthing.core.enums import Status
from farthing.identity.configuration import read
from farthing.identity.setting_values import DraftInvoiceRecomputeConfig, InvoiceConfig, SubscriptionConfig
from farthing.invoices.standing import UNPAID, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.reconciliation import PATIENCE
from farthing.payments.tables import Payment
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.words import SubscriptionStatus

RECOMPUTED_AT = time(2, tzinfo=UTC)
"""When the duty that computes drafts again runs, every day."""
_AFTER = timedelta(microseconds=1)
_DRAFTS = (
    Invoice.status == Status.PUBLISHED,
    Invoice.invoice_status == InvoiceStatus.DRAFT,
    Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
)


async def next_stop(session: AsyncSession, after: datetime) -> datetime | None:
    """The first instant after `after` at which something falls due; None when nothing ever does, as things stand.

    Thresholds of usage are not among them: those have to be searched for, see `thresholds.crossing`.
    """
    found = [
        await _first(session, Subscription.due_at, after),
        await _first(session, Subscription.current_period_end, after, -NOTICE, *renews()),
        *await _of_drafts(session, after),
        *await _of_claims(session, after),
        await _first(
            session,
            Payment.processing_since,
            after,
            PATIENCE + _AFTER,
            Payment.payment_status == PaymentStatus.PROCESSING,
        ),
    ]
    return min((moment for moment in found if moment is not None and moment > after), default=None)


async def _of_drafts(session: AsyncSession, after: datetime) -> list[datetime | None]:
    """Drafts are computed, computed again every day where that is wanted, and become claims."""
    config = await read(session, InvoiceConfig)
    compute = timedelta(seconds=config.compute_delay_seconds)
    finalize = timedelta(seconds=config.finalization_delay_seconds) + _AFTER
    found = [
        await _first(session, Invoice.period_end, after, compute, *_DRAFTS, Invoice.last_computed_at.is_(None)),
        await _first(session, Invoice.last_computed_at, after, finalize, *_DRAFTS),
    ]
    daily = await read(session, DraftInvoiceRecomputeConfig)
    if daily.enabled and await session.scalar(select(exists().where(*recomputable()))):
        found.append(next_recompute(after))
    return found


async def _of_claims(session: AsyncSession, after: datetime) -> list[datetime | None]:
    """Claims become overdue, and end their subscription when their grace is over."""
    unpaid = text(UNPAID)
    found = [await _first(session, Invoice.due_date, after, _AFTER, unpaid, Invoice.overdue_notified_at.is_(None))]
    config = await read(session, SubscriptionConfig)
    if config.auto_cancellation_enabled:
        active = exists().where(
            Subscription.id == Invoice.subscription_id, Subscription.subscription_status == SubscriptionStatus.ACTIVE
        )
        grace = timedelta(days=config.grace_period_days) + _AFTER
        found.append(await _first(session, Invoice.due_date, after, grace, unpaid, active))
    return found


async def _first(
    session: AsyncSession,
    column: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    after: datetime,
    shift: timedelta = timedelta(0),
    *where: ColumnElement[bool] | TextClause,
) -> datetime | None:
    """The earliest `column + shift` after `after`."""
    found: datetime | None = await session.scalar(select(func.min(column)).where(column > after - shift, *where))
    return None if found is None else found + shift


def is_recompute(moment: datetime) -> bool:
    """Whether the duty that computes drafts again runs at this instant."""
    return moment.astimezone(UTC).timetz() == RECOMPUTED_AT


def next_recompute(after: datetime) -> datetime:
    """The next two o'clock (UTC) after `after`."""
    today = datetime.combine(after.astimezone(UTC).date(), RECOMPUTED_AT)
    return today if today > after else today + timedelta(days=1)
