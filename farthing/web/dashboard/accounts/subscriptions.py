"""Subscriptions: the list, and one with its periods, its charges and what happened to it, along a line of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from litestar import Controller, Response, get
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import MICROSECOND
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.enums import PriceType, Status
from farthing.credits.grants.reads import included_in_subscriptions
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find
from farthing.subscriptions.tables import (
    Subscription,
    SubscriptionChange,
    SubscriptionLineItem,
    SubscriptionPause,
    SubscriptionSchedule,
)
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.accounts.customers import names_of
from farthing.web.dashboard.accounts.entitlements import usage_windows_of
from farthing.web.dashboard.accounts.grants import latest_applications
from farthing.web.dashboard.alerts import latest_alerts, scopes_of, settings_of
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering import wording
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.charts import TimelineSpan, timeline

MOST_PERIODS = 24
LONGEST_AHEAD = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Happening:
    """One moment of a subscription's life."""

    at: datetime
    what: str
    note: str = ""


class SubscriptionPages(Controller):
    """Subscriptions."""

    path = "/subscriptions"
    include_in_schema = False

    @get("/{subscription_id:str}", guards=[shows("subscription")])
    async def one(
        self, subscription_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """One subscription."""
        now = clock.now()
        row = await find(session, Subscription, subscription_id)
        plan = await session.get(Plan, row.plan_id)
        items = await session.execute(
            select(SubscriptionLineItem, Price)
            .join(Price, Price.id == SubscriptionLineItem.price_id)
            .where(SubscriptionLineItem.subscription_id == row.id, SubscriptionLineItem.status == Status.PUBLISHED)
            .order_by(SubscriptionLineItem.start_date, SubscriptionLineItem.id)
            .limit(200)
        )
        pauses = (
            await session.scalars(
                select(SubscriptionPause)
                .where(SubscriptionPause.subscription_id == row.id, SubscriptionPause.status == Status.PUBLISHED)
                .order_by(SubscriptionPause.pause_start)
            )
        ).all()
        invoices: Sequence[Invoice] = []
        if visitor_of(request).may(READ, "invoice"):
            invoices = (
                await session.scalars(
                    select(Invoice)
                    .where(
                        Invoice.subscription_id == row.id,
                        Invoice.status == Status.PUBLISHED,
                        Invoice.invoice_status != "SKIPPED",
                    )
                    .order_by(Invoice.created_at.desc(), Invoice.id.desc())
                    .limit(MOST_PERIODS)
                )
            ).all()
        charged = list(items)
        return render(
            request,
            "subscription.html",
            subscription=row,
            activities=await newest_activities(request, session, entity_id=row.id),
            activity_query={"entity_id": row.id},
            plan=plan,
            now=now,
            zone=row.timezone,
            names=await names_of(session, {row.customer_id, row.payer_id}),
            items=charged,
            invoices=invoices,
            zones=await reading_zones(session, invoices),
            grants=(await included_in_subscriptions(session, [row.id])).get(row.id, []),
            applications=await latest_applications(session, row.id),
            spend_settings=await settings_of(session, row),
            spend_scopes=await scopes_of(session, row),
            alerts=await latest_alerts(session, row.id),
            usage_windows=await usage_windows_of(session, row.id, now),
            happenings=await _happenings(session, row, pauses),
            picture=_picture(row, charged, pauses, invoices, now),
        )


async def _happenings(session: AsyncSession, row: Subscription, pauses: Sequence[SubscriptionPause]) -> list[Happening]:
    """What happened and what shall happen, in order of time."""
    found = [Happening(row.start_date, "Started")]
    if row.trial_start is not None and row.trial_end is not None:
        found += [Happening(row.trial_start, "Trial began"), Happening(row.trial_end, "Trial ends")]
    for pause in pauses:
        found.append(Happening(pause.pause_start, "Paused", pause.reason))
        if pause.resumed_at is not None:
            found.append(Happening(pause.resumed_at, "Resumed"))
    schedules = await session.scalars(
        select(SubscriptionSchedule).where(SubscriptionSchedule.subscription_id == row.id)
    )
    for schedule in schedules:
        what = f"{wording.words(schedule.schedule_type)}: {wording.words(schedule.schedule_status).lower()}"
        found.append(Happening(schedule.scheduled_at, what, schedule.error_message))
    changed = await session.scalars(select(SubscriptionChange).where(SubscriptionChange.subscription_id == row.id))
    for change in changed:
        found.append(Happening(change.effective_at, f"Plan changed ({wording.words(change.change_type).lower()})"))
    if row.cancelled_at is not None:
        found.append(Happening(row.cancelled_at, "Cancellation asked for"))
    if row.cancel_at is not None:
        found.append(Happening(row.cancel_at, "Cancelled" if row.subscription_status == "cancelled" else "Ends"))
    elif row.end_date is not None:
        found.append(Happening(row.end_date, "Ends"))
    return sorted(found, key=lambda happening: happening.at)


def _picture(
    row: Subscription,
    items: Sequence[tuple[SubscriptionLineItem, Price]],
    pauses: Sequence[SubscriptionPause],
    invoices: Sequence[Invoice],
    now: datetime,
) -> Markup:
    """Periods on one row, pauses and trials on the next, then each charge: a line of time from start to period end."""
    start = row.start_date
    end = max(row.current_period_end, min(now, start + LONGEST_AHEAD))
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
    breaks = [span(p.pause_start, p.resumed_at or p.pause_end or end, "pause", "Paused") for p in pauses]
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
        marks.insert(1, (place(now), "now"))
    return timeline(rows, marks, name="Periods, pauses and charges over time")


def _name(item: SubscriptionLineItem) -> str:
    return item.display_name or item.meter_display_name or item.plan_display_name or "Charge"
