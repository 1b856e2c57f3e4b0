"""Hourly records of what the usage of a subscription comes to.

A record is what all usage has come to by the end of its hour, less the records before it; so late usage makes the next
record larger, and where usage became less the next records are nothing until it has grown past what was recorded.
Rule: docs/rules/marketplaces.md#usage-records
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import structlog
from sqlalchemy import Select, Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import bill
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.periods.inputs import InvoiceRequest, gather
from farthing.calendar.billing import next_billing_date
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import MarketplaceConfig
from farthing.identity.settings.current import read
from farthing.marketplaces.reporting.hours import HOUR, floor_to_hour
from farthing.marketplaces.tables import AgreementStatus, MarketplaceAgreement, UsageRecord, UsageRecording
from farthing.subscriptions.dates import recurrence
from farthing.subscriptions.enums import InvoiceTrigger, SubscriptionStatus
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

_USAGE = frozenset({LineKind.USAGE, LineKind.OVERAGE, LineKind.TRUE_UP})
_LIVE = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAUSED})


class UsageRecordSweep:
    """The records of one run. A subscription of which none can be made is set aside until the next, and holds up no
    other."""

    def __init__(self) -> None:
        self.set_aside: set[str] = set()

    async def record_due(self, session: AsyncSession, now: datetime) -> int:
        """Write the next record of one subscription that has an hour closed, or has ended; 0 when there is none."""
        recording = await session.scalar(self._due(now))
        if recording is None:
            return 0
        subscription_id = recording.id
        try:
            async with session.begin_nested():
                await _record(session, recording, now)
        except Exception:  # one subscription's trouble must not stop the others
            self.set_aside.add(subscription_id)
            log.exception("usage_record.failed", subscription_id=subscription_id)
        return 1

    def _due(self, now: datetime) -> Select[UsageRecording]:
        closed = floor_to_hour(now)
        return (
            select(UsageRecording)
            .join(Subscription, Subscription.id == UsageRecording.id)
            .where(
                UsageRecording.is_open,
                UsageRecording.id.not_in(self.set_aside),
                (UsageRecording.recorded_until < closed) | Subscription.subscription_status.not_in(_LIVE),
            )
            .order_by(UsageRecording.recorded_until, UsageRecording.id)
            .limit(1)
            .with_for_update(of=UsageRecording, skip_locked=True)
            .execution_options(populate_existing=True)
        )


async def _record(session: AsyncSession, recording: UsageRecording, now: datetime) -> None:
    subscription = await session.get_one(Subscription, recording.id, populate_existing=True)
    ended_at = _ended_at(subscription, now)
    start = recording.recorded_until
    hour_end = floor_to_hour(start) + HOUR
    end = hour_end if ended_at is None else min(hour_end, max(ended_at, start))
    is_last = ended_at is not None and end >= ended_at
    if end > start:
        await _write(session, recording, subscription, Period(start, end), now, is_last=is_last)
    if is_last:
        recording.is_open = False
        await session.execute(_closing(recording.id))


def _closing(subscription_id: str) -> Update:
    return (
        update(MarketplaceAgreement)
        .where(
            MarketplaceAgreement.subscription_id == subscription_id,
            MarketplaceAgreement.agreement_status == AgreementStatus.ACTIVE,
        )
        .values(agreement_status=AgreementStatus.CLOSED)
    )


def _ended_at(subscription: Subscription, now: datetime) -> datetime | None:
    """When a subscription that is over ended."""
    if subscription.subscription_status in _LIVE:
        return None
    return min(at for at in (subscription.cancel_at, subscription.end_date, subscription.cancelled_at, now) if at)


async def _write(
    session: AsyncSession,
    recording: UsageRecording,
    subscription: Subscription,
    hour: Period,
    now: datetime,
    *,
    is_last: bool,
) -> None:
    total = await _total(session, recording, subscription, hour.end, now, is_last=is_last)
    usage = max(EXACT.subtract(total, recording.recorded_amount), ZERO)
    amount = EXACT.add(usage, await _fees(session, recording, subscription, hour, now))
    customer = await session.get_one(Customer, subscription.customer_id)
    session.add(
        UsageRecord(
            id=new_id(Kind.USAGE_RECORD),
            customer_id=customer.id,
            customer_external_id=customer.external_id,
            subscription_id=subscription.id,
            plan_id=subscription.plan_id,
            currency=subscription.currency,
            period_start=hour.start,
            period_end=hour.end,
            amount=amount,
            quantity=amount.scaleb(currency.digits(subscription.currency)),
        )
    )
    recording.recorded_amount = EXACT.add(recording.recorded_amount, usage)
    recording.recorded_until = hour.end


async def _total(
    session: AsyncSession,
    recording: UsageRecording,
    subscription: Subscription,
    until: datetime,
    now: datetime,
    *,
    is_last: bool,
) -> Decimal:
    """What all usage has come to by `until`; moves the recording past billing periods that have ended by then."""
    while recording.period_end < until:
        recording.closed_amount = EXACT.add(
            recording.closed_amount, await _previous_cost(session, recording, subscription, now)
        )
        boundary = recording.period_end
        recording.previous_start, recording.period_start = recording.period_start, boundary
        is_open_one = subscription.full_period_start == boundary
        following = subscription.current_period_end if is_open_one else None
        recording.period_end = following or next_billing_date(boundary, recurrence(subscription))
    previous = await _previous_cost(session, recording, subscription, now)
    closes = is_last or until == recording.period_end
    span = Period(recording.period_start, until)
    current = await _usage_cost(session, subscription, span, now, closes=closes)
    return exact_sum([recording.closed_amount, previous, current])


async def _previous_cost(
    session: AsyncSession, recording: UsageRecording, subscription: Subscription, now: datetime
) -> Decimal:
    if recording.previous_start is None:
        return ZERO
    span = Period(recording.previous_start, recording.period_start)
    return await _usage_cost(session, subscription, span, now, closes=True)


async def _fees(
    session: AsyncSession, recording: UsageRecording, subscription: Subscription, hour: Period, now: datetime
) -> Decimal:
    """The fixed fees whose service begins in the hour, where they are the marketplace's to collect.

    Rule: docs/rules/marketplaces.md#fixed-fees
    """
    if not (await read(session, MarketplaceConfig)).include_fixed:
        return ZERO
    periods = [Period(recording.period_start, recording.period_end)]
    if recording.previous_start is not None:
        periods.append(Period(recording.previous_start, recording.period_start))
    free_until = subscription.trial_end or hour.start
    fees = []
    for period in periods:
        advance = await _lines(session, subscription, InvoiceTrigger.CREATE, period, now)
        arrear = await _lines(session, subscription, InvoiceTrigger.CYCLE, period, now)
        later = [line for line in arrear if line.item is not None and not line.item.is_advance]
        fees += [
            line.amount
            for line in (*advance, *later)
            if line.kind is LineKind.FIXED and hour.contains(line.start) and line.start >= free_until
        ]
    return exact_sum(fees)


async def _usage_cost(
    session: AsyncSession, subscription: Subscription, span: Period, now: datetime, *, closes: bool
) -> Decimal:
    """What the usage of a span comes to, as its invoice would charge it: without discounts, tax, credits and fees.

    `closes`: the billing period ends with it, so that commitments are trued up.
    """
    occasion = InvoiceTrigger.CYCLE if closes else InvoiceTrigger.THRESHOLD
    lines = await _lines(session, subscription, occasion, span, now)
    return exact_sum([line.amount for line in lines if line.kind in _USAGE])


async def _lines(
    session: AsyncSession, subscription: Subscription, occasion: InvoiceTrigger, span: Period, now: datetime
) -> Sequence[DraftLine]:
    """What an invoice of a span would have, whatever other invoices have already."""
    (gathered,) = await gather(session, [InvoiceRequest(subscription.id, occasion, span, repeats=True)], now)
    return bill(gathered.work, gathered.known).lines
