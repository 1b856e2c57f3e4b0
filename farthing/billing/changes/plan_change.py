"""Plan changes with their money: by replacement (v1) and in place (v2), at once or at the end of the period.

Rule: docs/rules/subscriptions.md#plan-change
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as replace_terms
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers
from farthing.billing.changes.apply_outcome import Performed, perform
from farthing.billing.changes.replacement import Replaced, replace
from farthing.billing.plan_change_schemas import (
    EntityChangeResult,
    SubscriptionChangeExecuteResponse,
    SubscriptionChangePreviewResponse,
    SubscriptionChangeRequest,
    SubscriptionChangeV2Request,
    SubscriptionChangeV2Response,
)
from farthing.core.clock import instant
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.reads.presentation import shown
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, lock_row, unique
from farthing.subscriptions.changes.planned_terms import (
    AddonPolicies,
    PlannedChangeInPlace,
    PlannedEntityPolicies,
    PlannedReplacement,
)
from farthing.subscriptions.changes.tables import SubscriptionChange, SubscriptionSchedule
from farthing.subscriptions.enums import AddonPolicy, ChangeAt, LineItemOwner, ProrationBehavior, ScheduleType
from farthing.subscriptions.lifecycle import schedules
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.plan_change import by_replacement, in_place
from farthing.subscriptions.plan_change.in_place import PlannedChange
from farthing.subscriptions.reads.answers import subscription_answer
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription


def _target(asked: SubscriptionChangeRequest) -> by_replacement.Target:
    return by_replacement.Target(
        plan_id=asked.target_plan_id,
        billing_period=asked.billing_period,
        billing_period_count=asked.billing_period_count or 1,
        billing_cycle=asked.billing_cycle,
        proration=asked.proration_behavior,
        metadata=asked.metadata,
        line_items=asked.requested_quantities,
    )


async def replace_plan(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeRequest, now: datetime, effects: InvoiceHooks
) -> tuple[SubscriptionChangeExecuteResponse, list[str]]:
    """Replace the subscription now, or schedule that; the answer, and the invoices to collect."""
    if asked.change_at is ChangeAt.END_OF_PERIOD:
        return await _scheduled_replacement(session, subscription_id, asked), []
    at = _moment(asked, now)
    done = await replace(session, subscription_id, _target(asked), now, effects, at=at)
    period = done.replacement.before.current
    old, new = done.replacement.former.subscription, done.replacement.new.subscription
    prorated = asked.proration_behavior is ProrationBehavior.CREATE_PRORATIONS
    answer = SubscriptionChangeExecuteResponse(
        is_scheduled=False,
        change_type=done.replacement.change_type,
        effective_date=instant(at),
        metadata=dict(asked.metadata or {}),
        warnings=_carried_warnings(done),
        old_subscription=answers.summary(old),
        new_subscription=answers.summary(new),
        invoice=None if done.opening is None else await shown(session, done.opening),
        proration_applied=answers.details(done, period, at, old.currency) if prorated else None,
    )
    return answer, [
        invoice.id for invoice in (done.final, done.opening) if invoice is not None and invoice.amount_remaining > 0
    ]


async def _scheduled_replacement(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeRequest
) -> SubscriptionChangeExecuteResponse:
    planned = PlannedReplacement(
        target_plan_id=asked.target_plan_id,
        proration_behavior=asked.proration_behavior,
        billing_cadence=asked.billing_cadence,
        billing_period=asked.billing_period,
        billing_period_count=asked.billing_period_count or 1,
        billing_cycle=asked.billing_cycle,
        change_metadata=dict(asked.metadata or {}),
        line_items=asked.requested_quantities,
    )
    snapshot = await loading.load_one(session, subscription_id)
    change_type, carried = await by_replacement.compare(session, snapshot, _target(asked), snapshot.current.end)
    subscription, schedule_id = await by_replacement.schedule_replacement(
        session, subscription_id, _target(asked), planned
    )
    schedule = await find(session, SubscriptionSchedule, schedule_id)
    return SubscriptionChangeExecuteResponse(
        is_scheduled=True,
        change_type=change_type,
        warnings=list(carried.warnings),
        effective_date=instant(schedule.scheduled_at),
        metadata=dict(asked.metadata or {}),
        old_subscription=answers.summary(subscription),
        schedule_id=schedule_id,
        scheduled_at=instant(schedule.scheduled_at),
    )


async def preview_replacement(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeRequest, now: datetime, effects: InvoiceHooks
) -> SubscriptionChangePreviewResponse:
    """What a replacement would come to, in a session that will be rolled back.

    One at the end of the period is shown as of then, with nothing to prorate and without usage that is yet to come.
    """
    at, target = _moment(asked, now), _target(asked)
    if asked.change_at is ChangeAt.END_OF_PERIOD:
        await _scheduled_replacement(session, subscription_id, asked)
        at = (await find(session, Subscription, subscription_id)).current_period_end
        target = replace_terms(target, proration=ProrationBehavior.NONE)
    done = await replace(session, subscription_id, target, max(now, at), effects, at=at)
    before, period = done.replacement.before, done.replacement.before.current
    new = done.replacement.new.subscription
    opening = None if done.opening is None else await shown(session, done.opening)
    prorated = target.proration is ProrationBehavior.CREATE_PRORATIONS
    warnings = _carried_warnings(done)
    if done.replacement.called_off is not None:
        warnings.append(f"the cancellation at {instant(done.replacement.called_off)} will be taken back")
    return SubscriptionChangePreviewResponse(
        subscription_id=subscription_id,
        current_plan=await answers.plan_summary(session, before.plan_id),
        target_plan=await answers.plan_summary(session, asked.target_plan_id),
        change_type=done.replacement.change_type,
        effective_date=instant(at),
        warnings=warnings,
        metadata=dict(asked.metadata or {}),
        new_billing_cycle=answers.billing_cycle(new),
        proration_details=answers.details(done, period, at, new.currency) if prorated else None,
        next_invoice_preview=None if opening is None else answers.invoice_preview(opening, _notes(done)),
    )


def _carried_warnings(done: Replaced) -> list[str]:
    quantities = done.replacement.quantities
    return [
        *([] if quantities is None else quantities.warnings),
        *(
            f"{child_id} is in the middle of its period and is invoiced by itself"
            for child_id in done.replacement.released
        ),
    ]


def _notes(done: Replaced) -> Mapping[str, str]:
    quantities = done.replacement.quantities
    return {} if quantities is None else quantities.notes


async def change_plan(
    session: AsyncSession,
    subscription_id: str,
    asked: SubscriptionChangeV2Request,
    now: datetime,
    effects: InvoiceHooks,
) -> tuple[SubscriptionChangeV2Response | dict[str, Any], list[str]]:
    """Change the plan in place now, or schedule that; the answer, and the invoices to collect.

    A key that was used before gets the answer it got then. Raises InvalidOperation for what is not supported.
    """
    _demand_supported(asked)
    subscription = await lock_row(session, Subscription, subscription_id)
    if asked.idempotency_key:
        kept = await session.scalar(
            select(SubscriptionChange).where(
                SubscriptionChange.subscription_id == subscription_id,
                SubscriptionChange.idempotency_key == asked.idempotency_key,
            )
        )
        if kept is not None:
            if kept.to_plan_id != asked.target_plan_id:
                raise AlreadyExists(
                    "The key was used for another change",
                    {"idempotency_key": asked.idempotency_key, "target_plan_id": kept.to_plan_id},
                )
            return dict(kept.result), []
    before_plan = subscription.plan_id
    to_collect: list[str] = []
    if asked.change_at is ChangeAt.END_OF_PERIOD:
        answer = await _scheduled_change(session, subscription_id, asked, before_plan, now)
    else:
        answer, to_collect = await change_now(session, subscription_id, asked, now, effects)
    if asked.idempotency_key:
        await _keep(session, subscription_id, asked, before_plan, answer, now)
    return answer, to_collect


async def change_now(
    session: AsyncSession,
    subscription_id: str,
    asked: SubscriptionChangeV2Request,
    now: datetime,
    effects: InvoiceHooks,
    *,
    onto: Invoice | None = None,
) -> tuple[SubscriptionChangeV2Response, list[str]]:
    """Change the plan of a locked subscription in place, as of `proration_date` or now; charges go `onto` the draft
    that is given, or onto a new invoice. The answer, and the invoices to collect."""
    _demand_supported(asked)
    at = _moment(asked, now)
    subscription = await find(session, Subscription, subscription_id)
    before_plan = subscription.plan_id
    if at < subscription.current_period_start:
        raise ValidationFailed.of("proration_date", "must not be before the current period: what is invoiced stays")
    superseded = await _superseded(session, subscription_id, asked, now)
    default, overrides = _policies(asked)
    known = {addon.association_id for addon in (await loading.load_one(session, subscription_id)).addons}
    planned, outcome = await in_place.change_plan(
        session,
        subscription_id,
        asked.target_plan_id,
        asked.proration_behavior,
        at,
        now,
        default,
        overrides,
        asked.metadata,
        asked.requested_quantities,
    )
    performed = await perform(session, outcome, now, effects, onto=onto)
    subscription = outcome.subscription
    return (
        SubscriptionChangeV2Response(
            subscription=await subscription_answer(session, subscription, now),
            changed_resources=await answers.resources(session, outcome, performed),
            change_type=planned.change_type,
            effective_at=instant(at),
            from_plan=await answers.plan_summary(session, before_plan),
            to_plan=await answers.plan_summary(session, asked.target_plan_id),
            entity_changes=await _entity_changes(session, subscription_id, planned, known),
            is_scheduled=False,
            warnings=[*_warnings(asked, known), *planned.warnings],
            metadata=dict(asked.metadata or {}),
            superseded_schedules=superseded or None,
        ),
        performed.to_collect,
    )


async def plan_in_place(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeV2Request, now: datetime
) -> PlannedChange:
    """What a plan change in place would come to; nothing is written."""
    _, planned = await _planned_for(session, subscription_id, asked, _moment(asked, now))
    return planned


async def _planned_for(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeV2Request, at: datetime
) -> tuple[SubscriptionSnapshot, PlannedChange]:
    default, overrides = _policies(asked)
    return await in_place.planned_for(
        session,
        subscription_id,
        asked.target_plan_id,
        asked.proration_behavior,
        at,
        default,
        overrides,
        asked.requested_quantities,
    )


async def _entity_changes(
    session: AsyncSession, subscription_id: str, planned: PlannedChange, known: set[str]
) -> list[EntityChangeResult]:
    snapshot = await loading.load_one(session, subscription_id)
    return [
        EntityChangeResult(
            entity_id=addon.addon_id,
            entity_type=LineItemOwner.ADDON,
            reference_id=addon.association_id,
            behaviour=AddonPolicy.DROP if addon.association_id in planned.dropped else AddonPolicy.CARRY,
        )
        for addon in snapshot.addons
        if addon.association_id in known
    ]


async def _scheduled_change(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeV2Request, before_plan: str, now: datetime
) -> SubscriptionChangeV2Response:
    if asked.proration_behavior is ProrationBehavior.CREATE_PRORATIONS:
        raise InvalidOperation("A change at the end of a period has nothing to prorate")
    snapshot, planned = await _planned_for(session, subscription_id, asked, now)
    known = {addon.association_id for addon in snapshot.addons}
    terms = PlannedChangeInPlace(
        target_plan_id=asked.target_plan_id,
        idempotency_key=asked.idempotency_key or "",
        entity_policies=_entity_policies(asked),
        change_metadata=dict(asked.metadata or {}),
        line_items=asked.requested_quantities,
    )
    subscription, schedule_id, superseded = await in_place.schedule_change(
        session,
        subscription_id,
        asked.target_plan_id,
        terms,
        now,
        supersede=_supersedes(asked),
        metadata=asked.metadata,
    )
    at = instant(subscription.current_period_end)
    return SubscriptionChangeV2Response(
        subscription=await subscription_answer(session, subscription, now),
        changed_resources=await answers.resources(session, Outcome(subscription), Performed(), [subscription]),
        change_type=planned.change_type,
        effective_at=at,
        from_plan=await answers.plan_summary(session, before_plan),
        to_plan=await answers.plan_summary(session, asked.target_plan_id),
        entity_changes=[],
        is_scheduled=True,
        warnings=[*_warnings(asked, known), *planned.warnings],
        metadata=dict(asked.metadata or {}),
        schedule_id=schedule_id,
        scheduled_at=at,
        superseded_schedules=superseded or None,
    )


def _entity_policies(asked: SubscriptionChangeV2Request) -> PlannedEntityPolicies:
    addons = asked.entity_policies.addons if asked.entity_policies is not None else None
    if addons is None:
        return PlannedEntityPolicies()
    return PlannedEntityPolicies(AddonPolicies(addons.default_behaviour, addons.overrides))


async def _superseded(
    session: AsyncSession, subscription_id: str, asked: SubscriptionChangeV2Request, now: datetime
) -> list[str]:
    """The plan changes that waited and give way; raises InvalidOperation unless they shall."""
    waiting = await schedules.pending(session, subscription_id, ScheduleType.PLAN_CHANGE)
    if waiting and not _supersedes(asked):
        raise InvalidOperation(
            "A plan_change is scheduled for the subscription already",
            {"subscription_id": subscription_id, "schedule_id": waiting[0].id},
        )
    for schedule in waiting:
        await schedules.cancel(session, schedule.id, now)
    return [schedule.id for schedule in waiting]


def _supersedes(asked: SubscriptionChangeV2Request) -> bool:
    policies = asked.on_conflict_policies
    return policies is not None and policies.on_pending_schedule == "supersede"


def _warnings(asked: SubscriptionChangeV2Request, known: set[str]) -> list[str]:
    _, overrides = _policies(asked)
    return [
        f"'{association_id}' is not an addon of the subscription" for association_id in sorted(set(overrides) - known)
    ]


def _moment(asked: SubscriptionChangeRequest | SubscriptionChangeV2Request, now: datetime) -> datetime:
    """From when a change counts. Raises ValidationFailed for a moment to come."""
    at = asked.proration_date or now
    if at > now:
        raise ValidationFailed.of("proration_date", "must not be in the future")
    return at


def _demand_supported(asked: SubscriptionChangeV2Request) -> None:
    if asked.billing_period_behaviour != "unchanged":
        raise InvalidOperation(
            "Only a plan change that leaves the billing period unchanged is supported",
            {"billing_period_behaviour": asked.billing_period_behaviour},
        )


def _policies(asked: SubscriptionChangeV2Request) -> tuple[AddonPolicy, dict[str, AddonPolicy]]:
    addons = asked.entity_policies.addons if asked.entity_policies is not None else None
    if addons is None:
        return AddonPolicy.CARRY, {}
    return addons.default_behaviour or AddonPolicy.CARRY, dict(addons.overrides or {})


async def _keep(
    session: AsyncSession,
    subscription_id: str,
    asked: SubscriptionChangeV2Request,
    before_plan: str,
    answer: SubscriptionChangeV2Response,
    now: datetime,
) -> None:
    """Remember the answer under the request's key."""
    row = SubscriptionChange(
        id=new_id(Kind.SUBSCRIPTION_CHANGE),
        subscription_id=subscription_id,
        idempotency_key=asked.idempotency_key or "",
        change_type=answer.change_type,
        from_plan_id=before_plan,
        to_plan_id=asked.target_plan_id,
        effective_at=now,
        result=msgspec.to_builtins(answer),
    )
    async with unique(
        session,
        uq_subscription_changes_key=AlreadyExists(
            "The key was used for another change", {"idempotency_key": row.idempotency_key}
        ),
    ):
        session.add(row)
