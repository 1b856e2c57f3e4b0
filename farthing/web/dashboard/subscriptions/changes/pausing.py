"""Pausing a subscription, and resuming it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.invoices.hooks import InvoiceHooks
from farthing.subscriptions.lifecycle import pausing
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.forms.action import SubscriptionAction, nothing_to_choose, page_of
from farthing.web.dashboard.subscriptions.forms.consequences import Consequences
from farthing.web.dashboard.subscriptions.forms.typed_form import TypedForm, body_without_nothing
from farthing.web.rendering.words import wording


async def _pause_options(session: AsyncSession, subscription: Subscription, form: TypedForm) -> Mapping[str, Any]:
    del session, form
    return {"period_ends": subscription.current_period_end}


async def _pause(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    del effects
    zone = ZoneInfo(subscription.timezone)
    body = body_without_nothing(
        **form.given("pause_mode", "reason"),
        pause_start=form.midnight("pause_start", zone) if form.text("pause_mode") == "scheduled" else None,
        pause_end=form.midnight("pause_end", zone),
        pause_days=_whole(form, "pause_days"),
    )
    asked = convert(body, pausing.PauseSubscriptionRequest)
    _, pause, impact = await pausing.pause(session, subscription.id, asked, now)
    await session.flush()
    facts: list[tuple[str, object]] = [
        ("Paused from", wording.moment(pause.pause_start, subscription.timezone)),
        ("Until", wording.moment(pause.pause_end, subscription.timezone) or "somebody resumes it"),
    ]
    return Consequences(page_of(subscription), facts=[*facts, *_moved(impact, subscription)])


def _whole(form: TypedForm, name: str) -> int | None:
    number = form.number(name)
    if number is not None and number != number.to_integral_value():
        raise ValidationFailed.of(name, "must be a whole number")
    return None if number is None else int(number)


def _moved(impact: pausing.Impact, subscription: Subscription) -> list[tuple[str, object]]:
    """What becomes of the open period: a pause moves its end, and credits nothing."""
    zone = subscription.timezone
    if impact.adjusted is None:
        return [("The open period", "ends later by as long as the pause lasts; its fees are not charged again")]
    was, becomes = wording.day(impact.original.end, zone), wording.day(impact.adjusted.end, zone)
    if impact.adjusted.end == impact.original.end:
        return [("The open period", Markup("ends on {} as before").format(was))]
    return [("The open period", Markup("ends on {} instead of {}").format(becomes, was))]


async def _resume(
    session: AsyncSession, subscription: Subscription, form: TypedForm, now: datetime, effects: InvoiceHooks
) -> Consequences:
    del effects, form
    _, pause, impact = await pausing.resume(session, subscription.id, pausing.ResumeSubscriptionRequest(), now)
    if pause.resumed_at is None:
        facts: list[tuple[str, object]] = [("The pause", "is called off before it begins")]
        return Consequences(page_of(subscription), facts=facts)
    facts = [
        ("Paused from", wording.moment(pause.pause_start, subscription.timezone)),
        ("Until", wording.moment(pause.resumed_at, subscription.timezone)),
    ]
    return Consequences(page_of(subscription), facts=[*facts, *_moved(impact, subscription)])


PAUSE = SubscriptionAction(
    title="Pause",
    template="subscriptions/forms/pause.html",
    confirm="Pause it",
    said="The pause is set.",
    options=_pause_options,
    make=_pause,
)
RESUME = SubscriptionAction(
    title="Resume",
    template="subscriptions/forms/resume.html",
    confirm="Resume it",
    said="The subscription goes on.",
    options=nothing_to_choose,
    make=_resume,
)
