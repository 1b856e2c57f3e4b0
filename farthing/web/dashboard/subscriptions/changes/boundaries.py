"""Where a subscription begins and ends: drafts, trials, cancellations, and what is scheduled for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers
from farthing.billing.changes.apply_outcome import perform
from farthing.billing.schemas import SubscriptionModifyType
from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.catalogue.plans.tables import Plan
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.invoices.hooks import InvoiceHooks
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.enums import CancellationType, ScheduleStatus, ScheduleType
from farthing.subscriptions.lifecycle import activation, cancellation, schedules
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.forms.action import (
    SubscriptionAction,
    credits_of,
    made_invoices,
    modify,
    nothing_to_choose,
    page_of,
)
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing
from farthing.web.rendering.words import wording


async def _period_end(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    del session, form
    return {"period_ends": subscription.current_period_end}


async def _cancel(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    kind = form.text("cancellation_type")
    at_once = kind == CancellationType.IMMEDIATE
    body = body_without_nothing(
        **form.given("cancellation_type", "proration_behavior", "reason"),
        cancel_immediately_invoice_policy=form.text("cancel_immediately_invoice_policy") if at_once else "",
        cancel_at=_ends_at(subscription, form, kind),
    )
    asked = convert(body, cancellation.CancelSubscriptionRequest)
    ended = await cancellation.cancel(session, subscription.id, asked, now)
    performed = await perform(session, ended.outcome, now, effects)
    changed = await answers.changed_invoices(session, performed)
    facts: list[tuple[str, object]] = [("Ends", wording.moment(ended.at, subscription.timezone))]
    return Consequences(page_of(subscription), made_invoices(changed), credits_of(changed), performed.to_collect, facts)


def _ends_at(subscription: Subscription, form: TypedForm, kind: str) -> str | None:
    """When it shall end; one that ends at once ends when that was looked at, if its open period has begun by then."""
    if kind == CancellationType.SCHEDULED_DATE:
        return form.midnight("cancel_at", ZoneInfo(subscription.timezone))
    if kind == CancellationType.IMMEDIATE and form.as_of > subscription.current_period_start:
        return instant(form.as_of)
    return None


async def _keep(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    del form, effects
    was = subscription.cancel_at
    await cancellation.uncancel(session, subscription.id, now)
    facts: list[tuple[str, object]] = []
    if was is not None:
        ends = wording.moment(was, subscription.timezone)
        facts.append(("The end", Markup("on {} is taken back").format(ends)))
    return Consequences(page_of(subscription), facts=facts)


async def waiting_schedules(session: AsyncSession, subscription_id: str) -> list[SubscriptionSchedule]:
    """What is scheduled for a subscription, soonest first."""
    table = SubscriptionSchedule
    rows = await session.scalars(
        select(table)
        .where(
            table.subscription_id == subscription_id,
            table.schedule_status == ScheduleStatus.PENDING,
            table.status == Status.PUBLISHED,
        )
        .order_by(table.scheduled_at, table.id)
    )
    return list(rows)


async def schedules_in_words(session: AsyncSession, waiting: Sequence[SubscriptionSchedule]) -> dict[str, str]:
    """What each of them will do, by id: "Change to Pro", "Cancellation"."""
    targets = {str(schedule.configuration.get("target_plan_id", "")) for schedule in waiting}
    rows = await session.execute(select(Plan.id, Plan.name).where(in_array(Plan.id, targets)))
    names = dict(rows.all())
    return {
        schedule.id: f"Change to {names.get(schedule.configuration.get('target_plan_id', ''), 'another plan')}"
        if schedule.schedule_type is ScheduleType.PLAN_CHANGE
        else "Cancellation"
        for schedule in waiting
    }


async def _schedule_options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    zone = zone_or_abbreviation(subscription.timezone)
    waiting = await waiting_schedules(session, subscription.id)
    named = await schedules_in_words(session, waiting)
    del form
    return {
        "schedules": [
            (schedule.id, f"{named[schedule.id]}, {to_local(schedule.scheduled_at, zone):%-d %b %Y}")
            for schedule in waiting
        ]
    }


async def _take_back(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    del effects
    schedule = await find(session, SubscriptionSchedule, form.text("schedule_id"))
    if schedule.subscription_id != subscription.id:
        raise ValidationFailed.of("schedule_id", "is not of this subscription")
    await schedules.cancel(session, schedule.id, now)
    at = wording.moment(schedule.scheduled_at, subscription.timezone)
    words = Markup("on {} is taken back").format(at)
    return Consequences(page_of(subscription), facts=[(wording.words(schedule.schedule_type), words)])


async def _end_trial(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    params = body_without_nothing(
        action=form.text("action"),
        new_trial_end=form.midnight("new_trial_end", ZoneInfo(subscription.timezone))
        if form.text("action") == "scheduled_date"
        else None,
    )
    body = {"type": SubscriptionModifyType.TRIAL_END.value, "trial_end_params": params}
    return await modify(session, subscription, body, now, effects)


async def _activate(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    start = form.midnight("start_date", ZoneInfo(subscription.timezone))
    begins = form.as_of if start is None else datetime.fromisoformat(start)
    outcome = await activation.activate(session, subscription.id, begins, now)
    performed = await perform(session, outcome, now, effects)
    changed = await answers.changed_invoices(session, performed)
    facts: list[tuple[str, object]] = [
        ("Begins", wording.moment(outcome.subscription.start_date, subscription.timezone))
    ]
    return Consequences(page_of(subscription), made_invoices(changed), credits_of(changed), performed.to_collect, facts)


CANCEL = SubscriptionAction(
    title="Cancel",
    template="subscriptions/forms/cancel.html",
    confirm="Cancel the subscription",
    said="The cancellation is made as shown.",
    options=_period_end,
    make=_cancel,
)
KEEP = SubscriptionAction(
    title="Take back the cancellation",
    template="subscriptions/forms/keep.html",
    confirm="Let it go on",
    said="The subscription goes on.",
    options=nothing_to_choose,
    make=_keep,
)
TAKE_BACK = SubscriptionAction(
    title="Take back what is scheduled",
    template="subscriptions/forms/take_back.html",
    confirm="Take it back",
    said="It is taken back.",
    options=_schedule_options,
    make=_take_back,
)
END_TRIAL = SubscriptionAction(
    title="End the trial",
    template="subscriptions/forms/trial.html",
    confirm="Set the end of the trial",
    said="The end of the trial is set.",
    options=nothing_to_choose,
    make=_end_trial,
)
ACTIVATE = SubscriptionAction(
    title="Let it begin",
    template="subscriptions/forms/activate.html",
    confirm="Let it begin",
    said="The subscription begins as shown.",
    options=nothing_to_choose,
    make=_activate,
)
