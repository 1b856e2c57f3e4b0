"""The life of a subscription: what happened and what shall happen, and a picture of it along a line of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import MICROSECOND
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.clock import shifted
from farthing.core.enums import PriceType, Status
from farthing.invoices.pdf.figures import grouped
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.storage.record.outbox import SystemEvent
from farthing.subscriptions.changes.tables import SubscriptionPause, SubscriptionSchedule
from farthing.subscriptions.enums import AddonStatus, PauseStatus, ScheduleStatus, ScheduleType
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem
from farthing.web.dashboard.subscriptions.changes.boundaries import schedules_in_words
from farthing.web.dashboard.subscriptions.forms.consequences import wording_of
from farthing.web.rendering.charts import TimelineSpan, timeline
from farthing.web.rendering.words import wording

LONGEST_AHEAD = timedelta(days=400)
MOST_CHANGES = 100
"""Of each kind so many are told of, the newest."""
NARROW = Fraction(1, 8)
"""The share of the line of time that the word for a day takes."""
PLAN_CHANGED = "subscription.plan_changed"

ItemAndPrice = tuple[SubscriptionLineItem, Price]


@dataclass(frozen=True, slots=True)
class Happening:
    """One moment of a subscription's life."""

    at: datetime
    what: str
    note: str = ""


async def happenings_of(
    session: AsyncSession, row: Subscription, pauses: Sequence[SubscriptionPause], items: Sequence[ItemAndPrice]
) -> list[Happening]:
    """What happened and what shall happen, in order of time."""
    found = [
        *_own(row),
        *_of_pauses(pauses),
        *_of_charges(items),
        *await _of_schedules(session, row),
        *await _of_plans(session, row),
        *await _of_addons(session, row),
        *await _of_coupons(session, row),
    ]
    return sorted(found, key=lambda happening: happening.at)


def _own(row: Subscription) -> list[Happening]:
    found = [Happening(row.start_date, "Started")]
    if row.trial_start is not None and row.trial_end is not None:
        found += [Happening(row.trial_start, "Trial began"), Happening(row.trial_end, "Trial ends")]
    if row.cancelled_at is not None:
        found.append(Happening(row.cancelled_at, "Cancellation asked for", row.meta.get("cancellation_reason", "")))
    if row.cancel_at is not None:
        found.append(Happening(row.cancel_at, "Cancelled" if row.subscription_status == "cancelled" else "Ends"))
    elif row.end_date is not None:
        found.append(Happening(row.end_date, "Ends"))
    return found


def _of_pauses(pauses: Sequence[SubscriptionPause]) -> list[Happening]:
    found = []
    for pause in pauses:
        if pause.pause_status is PauseStatus.CANCELLED:
            found.append(Happening(pause.pause_start, "Pause that was called off", pause.reason))
            continue
        found.append(Happening(pause.pause_start, "Paused", pause.reason))
        if pause.resumed_at is not None:
            found.append(Happening(pause.resumed_at, "Resumed"))
        elif pause.pause_end is not None:
            found.append(Happening(pause.pause_end, "Resumes"))
    return found


def _of_charges(items: Sequence[ItemAndPrice]) -> list[Happening]:
    """Other quantities and prices: where one version of a charge succeeds another."""
    versions = {item.id: (item, price) for item, price in items}
    found = []
    for item, price in items:
        if item.replaces_id not in versions:
            continue
        former, former_price = versions[item.replaces_id]
        name = wording_of(item.display_name or item.meter_display_name, item.plan_display_name)
        if item.quantity != former.quantity:
            note = f"{grouped(former.quantity)} → {grouped(item.quantity)}"
            found.append(Happening(item.start_date, f"Quantity of {name}", note))
        if item.price_id != former.price_id:
            was, becomes = (wording.money(each.amount, each.currency) for each in (former_price, price))
            note = "in tiers" if price.tiers else f"{was} → {becomes}"
            found.append(Happening(item.start_date, f"Price of {name}", note))
    return found


async def _of_schedules(session: AsyncSession, row: Subscription) -> list[Happening]:
    """What is scheduled or failed; what was done or taken back is told by what it did."""
    table = SubscriptionSchedule
    rows = await session.scalars(
        select(table)
        .where(
            table.subscription_id == row.id,
            table.schedule_status.in_((ScheduleStatus.PENDING, ScheduleStatus.FAILED, ScheduleStatus.CANCELLED)),
        )
        .order_by(table.created_at.desc(), table.id)
        .limit(MOST_CHANGES)
    )
    schedules = rows.all()
    words = await schedules_in_words(session, schedules)
    found = []
    for schedule in schedules:
        # an end to come is told by the subscription itself
        if schedule.schedule_type is ScheduleType.CANCELLATION and schedule.schedule_status is ScheduleStatus.PENDING:
            continue
        state = {
            ScheduleStatus.PENDING: "scheduled",
            ScheduleStatus.FAILED: "failed",
            ScheduleStatus.CANCELLED: "taken back",
        }[schedule.schedule_status]
        at = schedule.cancelled_at or schedule.scheduled_at
        found.append(Happening(at, f"{words[schedule.id]}: {state}", schedule.error_message))
    return found


async def _of_plans(session: AsyncSession, row: Subscription) -> list[Happening]:
    """Plans that it has changed to, as events were recorded of them."""
    event = SystemEvent
    rows = await session.execute(
        select(event.created_at, event.payload["subscription"]["plan_id"].astext)
        .where(event.entity_id == row.id, event.event_name == PLAN_CHANGED)
        .order_by(event.created_at.desc(), event.id)
        .limit(MOST_CHANGES)
    )
    changed = [(at, plan_id) for at, plan_id in rows if plan_id]
    names = await _names(session, Plan, [plan_id for _, plan_id in changed])
    return [Happening(at, "Plan changed", f"to {names.get(plan_id, plan_id)}") for at, plan_id in changed]


async def _of_addons(session: AsyncSession, row: Subscription) -> list[Happening]:
    table = AddonAssociation
    rows = (
        await session.scalars(
            select(table)
            .where(
                table.subscription_id == row.id,
                table.status == Status.PUBLISHED,
                table.addon_status != AddonStatus.PENDING,
            )
            .order_by(table.start_date.desc(), table.id)
            .limit(MOST_CHANGES)
        )
    ).all()
    names = await _names(session, Addon, [association.addon_id for association in rows])
    found = []
    for association in rows:
        name = names.get(association.addon_id, "Addon")
        found.append(Happening(association.start_date, f"Addon {name} added"))
        if association.end_date is not None and association.end_date != row.end_date:
            found.append(Happening(association.end_date, f"Addon {name} ends", association.cancellation_reason))
    return found


async def _of_coupons(session: AsyncSession, row: Subscription) -> list[Happening]:
    table = CouponAssociation
    rows = await session.execute(
        select(table.start_date, table.cut_at, CouponRow.name)
        .join(CouponRow, CouponRow.id == table.coupon_id)
        .where(table.subscription_id == row.id, table.status == Status.PUBLISHED)
        .order_by(table.start_date.desc(), table.id)
        .limit(MOST_CHANGES)
    )
    found = []
    for start, cut_at, name in rows:
        found.append(Happening(start, f"Coupon {name} added"))
        if cut_at is not None:
            found.append(Happening(cut_at, f"Coupon {name} removed"))
    return found


async def _names(session: AsyncSession, table: type[Plan | Addon], ids: Iterable[str]) -> Mapping[str, str]:
    rows = await session.execute(select(table.id, table.name).where(in_array(table.id, list(ids))))
    return dict(rows.all())


def picture_of(
    row: Subscription,
    items: Sequence[ItemAndPrice],
    pauses: Sequence[SubscriptionPause],
    invoices: Sequence[Invoice],
    now: datetime,
) -> Markup:
    """Periods on one row, pauses and trials on the next, then each charge: a line of time from start to period end."""
    start = row.start_date
    end = max(row.current_period_end, min(now, shifted(start, LONGEST_AHEAD)))
    whole = end - start
    if whole <= timedelta(0):
        return Markup("")

    def place(moment: datetime) -> Fraction:
        share = Fraction((moment - start) // MICROSECOND, whole // MICROSECOND)
        return max(Fraction(0), min(share, Fraction(1)))

    def span(first: datetime, last: datetime, tone: str, label: str) -> TimelineSpan:
        title = f"{label}: {first:%-d %b %Y} to {last:%-d %b %Y} (UTC)"
        return TimelineSpan(place(first), place(last), tone, label, title)

    past = sorted(
        (invoice.period_start, invoice.period_end, invoice.invoice_number or "Draft")
        for invoice in invoices
        if invoice.period_start is not None
        and invoice.period_end is not None
        and invoice.period_end <= row.current_period_start
    )
    periods = [span(first, last, "calm", number) for first, last, number in past]
    rows = [[*periods, span(row.current_period_start, row.current_period_end, "open", "Open period")]]
    breaks = [
        span(pause.pause_start, pause.resumed_at or pause.pause_end or end, "pause", "Paused")
        for pause in pauses
        if pause.pause_status is not PauseStatus.CANCELLED
    ]
    if row.trial_start is not None and row.trial_end is not None:
        breaks.append(span(row.trial_start, row.trial_end, "trial", "Trial"))
    if breaks:
        rows.append(breaks)
    for item, _ in items[:12]:
        if item.start_date < end:
            tone = "fixed" if item.price_type is PriceType.FIXED else "usage"
            rows.append([span(item.start_date, min(item.end_date or end, end), tone, _name(item))])
    marks = [(Fraction(0), f"{start:%-d %b %Y}"), (Fraction(1), f"{end:%-d %b %Y}")]
    if start < now < end:
        # beside the days of the start and the end there is no room for a word
        share = place(now)
        marks.insert(1, (share, "now" if NARROW < share < 1 - NARROW else ""))
    return timeline(rows, marks, name="Periods, pauses and charges over time")


def _name(item: SubscriptionLineItem) -> str:
    return item.display_name or item.meter_display_name or item.plan_display_name or "Charge"
