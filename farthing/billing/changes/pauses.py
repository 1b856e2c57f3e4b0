"""What a pause does to the money of a period.

Rule: docs/rules/subscriptions.md#pauses
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.charges import charges_of
from farthing.billing.schemas import BillingImpact, PauseResponse
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.clock import instant
from farthing.core.money import plain, round_to
from farthing.rating.pricing.cost import price_quantity
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.lifecycle.pausing import Impact
from farthing.subscriptions.reads.answers import subscription_answer
from farthing.subscriptions.schemas.responses import SubscriptionPauseResponse
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription


async def answer(
    session: AsyncSession,
    subscription: Subscription,
    pause: SubscriptionPause,
    impact: Impact,
    now: datetime,
    *,
    dry_run: bool,
) -> PauseResponse:
    """A pause that was begun, ended, or only asked about."""
    if not dry_run:
        await session.flush()
        await session.refresh(subscription)
    else:
        pause.tenant_id, pause.environment_id = subscription.tenant_id, subscription.environment_id
        pause.created_at = pause.updated_at = now
        pause.created_by = pause.updated_by = subscription.updated_by
        pause.status = subscription.status
    snapshot = await loading.load_one(session, subscription.id)
    return PauseResponse(
        subscription=await subscription_answer(session, subscription, now),
        pause=SubscriptionPauseResponse.of(pause),
        billing_impact=_impact(snapshot, impact, pause.pause_start),
        dry_run=dry_run,
    )


def _impact(snapshot: SubscriptionSnapshot, impact: Impact, start: datetime) -> BillingImpact:
    """The fees in advance of the open period for the time that is left at the pause, and what the next one costs."""
    period = impact.original
    fees = _fees(snapshot, period)
    left = period.clip(start, None)
    unused = Fraction(0) if left is None else left.fraction_of(period)
    digits = currency.digits(snapshot.currency)
    adjusted = impact.adjusted
    return BillingImpact(
        period_adjustment_amount=plain(round_to(-fees * unused, digits)),
        next_billing_amount=plain(round_to(fees, digits)),
        next_billing_date=None if adjusted is None else instant(adjusted.end),
        original_period_start=instant(period.start),
        original_period_end=instant(period.end),
        adjusted_period_start=None if adjusted is None else instant(adjusted.start),
        adjusted_period_end=None if adjusted is None else instant(adjusted.end),
        pause_duration_days=0 if impact.paused is None else impact.paused // timedelta(days=1),
    )


def _fees(snapshot: SubscriptionSnapshot, period: Period) -> Fraction:
    """The recurring fees in advance of a period."""
    advance = charges_of(snapshot, InvoiceTrigger.UPDATE, period).advance
    return sum(
        (
            Fraction(price_quantity(charge.item.price, charge.item.quantity)) * charge.share
            for charge in advance
            if not charge.item.is_onetime
        ),
        Fraction(Decimal(0)),
    )
