"""Plan changes that replace the subscription (v1): the old one's credit reduces the new one's opening invoice.

Rule: docs/rules/subscriptions.md#by-replacement
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import Proration
from farthing.billing.changes.settle import ReturnedCredit, give_back, proration_of, record, settlement_key
from farthing.billing.periods.drafts import Wanted
from farthing.billing.periods.finalize import issue_at_once
from farthing.core.clock import instant
from farthing.core.errors import FarthingError
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.invoicing.wallets import lock_open_wallets
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.tables import Invoice
from farthing.subscriptions.enums import ProrationBehavior, ScheduleStatus
from farthing.subscriptions.lifecycle import schedules
from farthing.subscriptions.plan_change import by_replacement
from farthing.subscriptions.planned_terms import PlannedReplacement, planned_change
from farthing.subscriptions.states import move_schedule
from farthing.subscriptions.tables import Subscription, SubscriptionSchedule


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replacement came to: the opening invoice of the new subscription, what the old one was billed, and the
    credit of which `refunded` went to the payer."""

    replacement: by_replacement.Replacement
    opening: Invoice | None
    final: Invoice | None
    proration: Proration
    refunded: Decimal


async def replace(
    session: AsyncSession,
    subscription_id: str,
    target: by_replacement.Target,
    now: datetime,
    effects: InvoiceHooks,
    *,
    at: datetime | None = None,
) -> Replaced:
    """End a subscription at `at`, by default now, begin its successor, and bill both.

    Raises as `replacing.replace_plan` does.
    """
    replacement = await by_replacement.replace_plan(session, subscription_id, target, now, at=at)
    before, former, new = replacement.before, replacement.former, replacement.new
    scale = former.proration is ProrationBehavior.CREATE_PRORATIONS
    # before an invoice is numbered: wallets are locked before the sequence
    await lock_open_wallets(session, before.payer_id, before.currency)
    finals = await issue_at_once(
        session,
        [Wanted(former.subscription, one.occasion, one.period, scale_arrears=scale) for one in former.billables],
        now,
        effects,
    )
    proration = await proration_of(session, before, former.changes) if scale else Proration()
    openings = await issue_at_once(
        session,
        [Wanted(new.subscription, one.occasion, one.period, opening_credit=proration.credit) for one in new.billables],
        now,
        effects,
    )
    opening = openings[0] if openings else None
    refunded = EXACT.subtract(proration.credit, await _used(session, opening))
    if proration.changes:
        key, returned = settlement_key(before.id, former.changes), ReturnedCredit()
        if refunded > 0:
            returned = await give_back(session, before, proration, refunded, key, "plan change", now)
        await record(session, before, proration, key, opening, returned)
    return Replaced(replacement, opening, finals[0] if finals else None, proration, refunded)


async def _used(session: AsyncSession, opening: Invoice | None) -> Decimal:
    """How much of the credit the opening invoice's lines have taken."""
    if opening is None:
        return ZERO
    lines = await published_lines(session, opening.id)
    return exact_sum([line.proration_credit for line in lines])


async def replace_due(
    session: AsyncSession,
    subscription: Subscription,
    schedule: SubscriptionSchedule,
    now: datetime,
    effects: InvoiceHooks,
) -> None:
    """Make a scheduled replacement whose time has come; a failure is written on the schedule.

    Rule: docs/rules/subscriptions.md#schedules
    """
    # whatever else waits is dropped when the subscription ends, but not what is being done
    move_schedule(schedule, ScheduleStatus.EXECUTING)
    await session.flush()
    try:
        async with session.begin_nested():
            planned = planned_change(schedule.configuration)
            assert isinstance(planned, PlannedReplacement), "a change in place is made when its period ends"
            target = by_replacement.target_of(planned)
            done = await replace(session, subscription.id, target, schedule.scheduled_at, effects)
    except FarthingError as error:
        await session.refresh(schedule)
        await session.refresh(subscription)
        await schedules.fail(session, subscription, schedule, schedules.reason_of(error))
        return
    result = {
        "old_subscription_id": subscription.id,
        "new_subscription_id": done.replacement.new.subscription.id,
        "change_type": done.replacement.change_type.value,
        "effective_date": instant(schedule.scheduled_at),
    }
    schedules.executed(schedule, result, now)
