"""Plan changes that replace the subscription (v1): the old one's credit reduces the new one's opening invoice.

Rule: docs/rules/subscriptions.md#by-replacement
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import Proration, credit_by_rates, owed_parts
from farthing.billing.changes.give_back import give_back
from farthing.billing.changes.settle import lock_for_settlement, proration_of, record, settlement_key
from farthing.billing.periods.drafts import WantedDraft
from farthing.billing.periods.finalize import WithoutRate, issue_at_once
from farthing.core.clock import instant
from farthing.core.errors import FarthingError
from farthing.core.money import EXACT, exact_sum, plain
from farthing.credits.notes.lifecycle.settlements import SettlementCause
from farthing.credits.notes.tables import CreditNoteReason
from farthing.invoices.figures.computation import calculate, published_lines
from farthing.invoices.figures.terms import OpeningCredit
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.tables import Invoice
from farthing.subscriptions.changes.planned_terms import PlannedReplacement, planned_change
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.enums import InvoiceTrigger, ProrationBehavior, ScheduleStatus, SubscriptionType
from farthing.subscriptions.lifecycle import hierarchy, schedules
from farthing.subscriptions.outcome import Billable
from farthing.subscriptions.plan_change import by_replacement
from farthing.subscriptions.states import move_schedule
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replacement came to: the opening invoice of the new subscription, what the old one was billed, and the
    credit of which `refunded` went to the payer."""

    replacement: by_replacement.Replacement
    opening: Invoice | None
    final: Invoice | None
    proration: Proration
    refunded: Decimal


BillPeriods = Callable[[AsyncSession, Sequence[WantedDraft], datetime, InvoiceHooks], Awaitable[object]]
"""Makes invoices of a subscription that is replaced."""


@dataclass(frozen=True, slots=True)
class ClosedPeriods:
    """The periods of the old subscription that closed just before, and how they are billed while the children who are
    on their invoices still stand under it."""

    billables: Sequence[Billable]
    bill: BillPeriods


async def issue_for_good(
    session: AsyncSession, wanted: Sequence[WantedDraft], now: datetime, effects: InvoiceHooks
) -> list[Invoice]:
    """Issue the invoices of a replacement, which fails as a whole where a rate of conversion is missing."""
    return await issue_at_once(session, wanted, now, effects, without_rate=WithoutRate.REFUSE)


async def replace(
    session: AsyncSession,
    subscription_id: str,
    target: by_replacement.Target,
    now: datetime,
    effects: InvoiceHooks,
    *,
    at: datetime | None = None,
    closed: ClosedPeriods | None = None,
) -> Replaced:
    """End a subscription at `at`, by default now, begin its successor, and bill both.

    Periods that were `closed` just before are billed, too, where children are on their invoices that go on under the
    successor.
    Raises as `replacing.replace_plan` does.
    """
    replacement = await by_replacement.replace_plan(session, subscription_id, target, now, at=at)
    before, former, new = replacement.before, replacement.former, replacement.new
    scale = former.proration is ProrationBehavior.CREATE_PRORATIONS
    # before an invoice is numbered: what is credited and the wallets are locked before the sequence
    sources = await lock_for_settlement(session, before, former.changes if scale else ())
    old = former.subscription
    finals = await issue_for_good(
        session,
        [WantedDraft(old, billable.occasion, billable.period, scale_arrears=scale) for billable in former.billables],
        now,
        effects,
    )
    if closed is not None:
        last = [WantedDraft(old, InvoiceTrigger.FINAL, billable.period) for billable in closed.billables]
        await closed.bill(session, last, now, effects)
    await by_replacement.hand_over_children(session, replacement, now)
    proration = await proration_of(session, before, former.changes, sources) if scale else Proration()
    credits_left = credit_by_rates(proration.changes)
    credit = [OpeningCredit(rates=tuple(sorted(rates)), amount=plain(part)) for rates, part in credits_left.items()]
    openings = await issue_for_good(
        session,
        [
            WantedDraft(new.subscription, billable.occasion, billable.period, opening_credit=credit)
            for billable in new.billables
        ],
        now,
        effects,
    )
    opening = openings[0] if openings else None
    await _take_off_used(session, opening, credits_left)
    owed = owed_parts(proration.changes, credits_left)
    if proration.changes:
        cause = SettlementCause(settlement_key(before.id, former.changes), CreditNoteReason.ORDER_CHANGE)
        returned = await give_back(session, before, owed, sources, cause, now)
        await record(session, before, proration, cause.key, opening, returned)
    refunded = exact_sum([part.amount for parts in owed for part in parts])
    return Replaced(replacement, opening, finals[0] if finals else None, proration, refunded)


async def _take_off_used(
    session: AsyncSession, opening: Invoice | None, credits_left: dict[frozenset[str], Decimal]
) -> None:
    """Leave of credits, by the rates that they carry, what the opening invoice's lines have not taken."""
    if opening is None:
        return
    lines = await published_lines(session, opening.id)
    for line, worked in zip(lines, calculate(opening, lines).lines, strict=True):
        if line.proration_credit > 0:
            credits_left[worked.rates] = EXACT.subtract(credits_left[worked.rates], line.proration_credit)


async def replace_due(
    session: AsyncSession,
    subscription: Subscription,
    schedule: SubscriptionSchedule,
    closed: ClosedPeriods,
    now: datetime,
    effects: InvoiceHooks,
) -> bool:
    """Make a scheduled replacement whose time has come; a failure is written on the schedule. Whether it has billed the
    periods that were `closed` with it: those that grouped children are billed for.

    Rule: docs/rules/subscriptions.md#schedules
    """
    grouped = await hierarchy.children_of(session, subscription.id, SubscriptionType.GROUPED_INVOICING)
    # whatever else waits is dropped when the subscription ends, but not what is being done
    move_schedule(schedule, ScheduleStatus.EXECUTING)
    await session.flush()
    try:
        async with session.begin_nested():
            planned = planned_change(schedule.configuration)
            assert isinstance(planned, PlannedReplacement), "a change in place is made when its period ends"
            target = by_replacement.target_of(planned)
            done = await replace(
                session, subscription.id, target, schedule.scheduled_at, effects, closed=closed if grouped else None
            )
    except FarthingError as error:
        await session.refresh(schedule)
        await session.refresh(subscription)
        await schedules.fail(session, subscription, schedule, schedules.reason_of(error))
        return False
    result = {
        "old_subscription_id": subscription.id,
        "new_subscription_id": done.replacement.new.subscription.id,
        "change_type": done.replacement.change_type.value,
        "effective_date": instant(schedule.scheduled_at),
    }
    schedules.mark_executed(schedule, result, now)
    return bool(grouped)
