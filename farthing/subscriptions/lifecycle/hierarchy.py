"""Parents and children: who follows whom.

Rule: docs/rules/subscriptions.md#hierarchy
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.tables import Customer
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.changes.events import record_change, record_subscription_event
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.dates import recurrence
from farthing.subscriptions.enums import PauseStatus, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.states import LIVE, move_pause, require
from farthing.subscriptions.tables import Subscription

_MIRRORED = (
    "subscription_status",
    "current_period_start",
    "current_period_end",
    "full_period_start",
    "billing_anchor",
    "end_date",
    "cancel_at",
    "cancel_at_period_end",
    "end_proration_behavior",
    "cancelled_at",
    "pause_status",
    "active_pause_id",
    "trial_start",
    "trial_end",
)
_ALONGSIDE = (
    "subscription_status",
    "current_period_start",
    "current_period_end",
    "full_period_start",
    "billing_anchor",
)
_TRIAL = ("trial_start", "trial_end")
_JOINABLE = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING)


async def children_of(
    session: AsyncSession, parent_id: str, *types: SubscriptionType, lock: bool = True
) -> list[Subscription]:
    """The published children that are not cancelled, by id, locked unless told otherwise."""
    query = (
        select(Subscription)
        .where(
            Subscription.parent_subscription_id == parent_id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
            Subscription.subscription_type.in_(types or _CHILDREN),
        )
        .order_by(Subscription.id)
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return list((await session.scalars(query)).all())


_CHILDREN = (SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING)


async def mirror(session: AsyncSession, parent: Subscription) -> None:
    """Bring the children of a locked parent to its status, period, pause and cancellation, as far as they follow it.

    Inherited ones follow in everything; grouped ones keep an end, pauses and a trial of their own, and are released
    when the parent is cancelled.
    """
    if parent.subscription_type is not SubscriptionType.PARENT:
        return
    await session.flush()
    for child in await children_of(session, parent.id):
        if child.subscription_type is SubscriptionType.INHERITED:
            names: Sequence[str] = _MIRRORED
        elif parent.subscription_status is SubscriptionStatus.CANCELLED:
            release(child)
            await record_change(session, child)
            continue
        else:
            names = _ALONGSIDE if child.trial_end is None else (*_ALONGSIDE, *_same_trial(child, parent))
            await _pause_along(session, child, parent)
        before = child.subscription_status
        for name in names:
            setattr(child, name, getattr(parent, name))
        if session.is_modified(child):
            ended = before is not child.subscription_status is SubscriptionStatus.CANCELLED
            await record_change(session, child, *(["cancelled"] if ended else []))


def _same_trial(child: Subscription, parent: Subscription) -> Sequence[str]:
    """What is mirrored of a trial: one that is shared moves along, another one stays the child's own."""
    return _TRIAL if child.trial_start == parent.trial_start else ()


async def _pause_along(session: AsyncSession, child: Subscription, parent: Subscription) -> None:
    """Let a grouped child pause and resume with its parent, by a pause of its own: it outlasts the family."""
    paused = SubscriptionStatus.PAUSED
    if parent.subscription_status is paused and child.subscription_status is not paused:
        of = await find(session, SubscriptionPause, parent.active_pause_id or "")
        made = SubscriptionPause(
            id=new_id(Kind.SUBSCRIPTION_PAUSE),
            subscription_id=child.id,
            pause_status=PauseStatus.ACTIVE,
            pause_mode=of.pause_mode,
            resume_mode=of.resume_mode,
            pause_start=of.pause_start,
            pause_end=of.pause_end,
            original_period_start=of.original_period_start,
            original_period_end=of.original_period_end,
            original_billing_anchor=of.original_billing_anchor,
            reason=of.reason,
            meta={},
        )
        session.add(made)
        child.active_pause_id, child.pause_due_at = made.id, made.pause_end
        child.pause_status = PauseStatus.ACTIVE
    elif child.subscription_status is paused and parent.subscription_status is SubscriptionStatus.ACTIVE:
        made = await lock_row(session, SubscriptionPause, child.active_pause_id or "")
        move_pause(made, PauseStatus.COMPLETED)
        made.resumed_at = await session.scalar(
            select(SubscriptionPause.resumed_at).where(
                SubscriptionPause.subscription_id == parent.id, SubscriptionPause.pause_start == made.pause_start
            )
        )
        child.active_pause_id = child.pause_due_at = None
        child.pause_status = PauseStatus.NONE


def release(child: Subscription) -> None:
    """Make a grouped child stand alone again: it is invoiced by itself from its open period on."""
    child.subscription_type = SubscriptionType.STANDALONE
    child.parent_subscription_id = None


async def inherit(
    session: AsyncSession, parent: Subscription, customers: Sequence[Customer], since: datetime
) -> list[Subscription]:
    """Make an inherited subscription of a locked parent for each customer, whose rows are locked exclusively.

    Their usage counts from `since` on, or from when the parent begins, if that is later or not known yet.
    Raises ValidationFailed for the parent's own customer and InvalidOperation for one who subscribes on their own or
    under another parent, or when the parent is over or is itself a child.
    """
    require(parent, SubscriptionStatus.DRAFT, *LIVE, to="inherit")
    _demand_parent(parent)
    if (parent.auto_invoice_threshold or 0) > 0:
        raise InvalidOperation("A subscription with an invoice threshold cannot have children", {"id": parent.id})
    is_draft = parent.subscription_status is SubscriptionStatus.DRAFT
    start = parent.start_date if is_draft else max(parent.start_date, since)
    made = []
    for customer in customers:
        if customer.id == parent.customer_id:
            raise ValidationFailed.of(
                "external_customer_ids_to_inherit_subscription", f"'{customer.external_id}' is the parent's customer"
            )
        await require_free(session, customer, parent, again=False)
        child = Subscription(
            **{name: getattr(parent, name) for name in _INHERITED},
            **{name: getattr(parent, name) for name in _MIRRORED},
            id=new_id(Kind.SUBSCRIPTION),
            customer_id=customer.id,
            start_date=start,
            subscription_type=SubscriptionType.INHERITED,
            parent_subscription_id=parent.id,
            meta={},
        )
        session.add(child)
        made.append(child)
    if parent.subscription_type is not SubscriptionType.PARENT:
        parent.subscription_type = SubscriptionType.PARENT
    await session.flush()
    for child in made:
        await record_subscription_event(session, child, "created")
    return made


async def disinherit(
    session: AsyncSession, parent: Subscription, customers: Sequence[Customer], now: datetime
) -> list[Subscription]:
    """End the inherited subscriptions that these customers hold under a locked parent.

    Raises InvalidOperation for a customer who holds none. Their usage counts until now.
    """
    held = {child.customer_id: child for child in await children_of(session, parent.id, SubscriptionType.INHERITED)}
    ended = []
    for customer in customers:
        child = held.get(customer.id)
        if child is None:
            raise InvalidOperation(
                f"Customer '{customer.external_id}' does not inherit this subscription",
                {"external_customer_id": customer.external_id, "subscription_id": parent.id},
            )
        child.subscription_status = SubscriptionStatus.CANCELLED
        child.cancelled_at = now
        child.end_date = max(now, child.start_date)
        child.pause_status, child.active_pause_id, child.pause_due_at = PauseStatus.NONE, None, None
        await record_change(session, child, "cancelled")
        ended.append(child)
    return ended


def leave_behind(session: AsyncSession, child: Subscription, at: datetime, now: datetime) -> None:
    """Keep with a parent that ends at `at` what an inherited child used until then, because the child goes on with the
    parent's successor, and begins there."""
    if at <= child.start_date:
        return
    ended = Subscription(
        **{name: getattr(child, name) for name in (*_INHERITED, *_MIRRORED)},
        id=new_id(Kind.SUBSCRIPTION),
        customer_id=child.customer_id,
        start_date=child.start_date,
        subscription_type=SubscriptionType.INHERITED,
        parent_subscription_id=child.parent_subscription_id,
        meta={},
    )
    ended.subscription_status, ended.cancelled_at, ended.end_date = SubscriptionStatus.CANCELLED, now, at
    ended.pause_status, ended.active_pause_id, ended.pause_due_at = PauseStatus.NONE, None, None
    session.add(ended)
    child.start_date = at


_INHERITED = (
    "plan_id",
    "currency",
    "billing_cycle",
    "billing_period",
    "billing_period_count",
    "timezone",
    "payment_behavior",
    "collection_method",
    "proration_behavior",
)


async def require_free(session: AsyncSession, customer: Customer, parent: Subscription, *, again: bool) -> None:
    """Refuse a child customer who has a live subscription without a parent, or under another parent's customer.

    `again`: whether another child under the same parent is welcome. Raises InvalidOperation.
    """
    others = await session.scalars(
        select(Subscription).where(
            Subscription.customer_id == customer.id,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
    )
    for other in others:
        above = None
        if other.parent_subscription_id is not None:
            above = await session.get(Subscription, other.parent_subscription_id)
        if above is None or above.customer_id != parent.customer_id or (above.id == parent.id and not again):
            raise InvalidOperation(
                f"Customer '{customer.external_id}' has a subscription already",
                {"external_customer_id": customer.external_id, "subscription_id": other.id},
            )


async def require_not_inherited(session: AsyncSession, customer_id: str) -> None:
    """Refuse a subscription of their own to a customer who holds an inherited one. Raises InvalidOperation."""
    held = await session.scalar(
        select(Subscription.id).where(
            Subscription.customer_id == customer_id,
            Subscription.subscription_type == SubscriptionType.INHERITED,
            Subscription.status == Status.PUBLISHED,
            Subscription.subscription_status != SubscriptionStatus.CANCELLED,
        )
    )
    if held is not None:
        raise InvalidOperation(
            "The customer holds an inherited subscription and cannot have one of their own",
            {"customer_id": customer_id, "subscription_id": held},
        )


async def group(session: AsyncSession, parent: Subscription, child_ids: Sequence[str]) -> list[Subscription]:
    """Turn standalone subscriptions into grouped children of a locked parent, from the next boundary on.

    Raises NotFound, ValidationFailed and InvalidOperation naming what does not match.
    """
    _demand_joinable(parent, "parent")
    _demand_parent(parent)
    if (parent.auto_invoice_threshold or 0) > 0:
        raise InvalidOperation("A subscription with an invoice threshold cannot have children", {"id": parent.id})
    made = []
    for child_id in sorted(set(child_ids)):
        if child_id == parent.id:
            raise ValidationFailed.of("child_subscription_ids", "a subscription cannot be its own child")
        child = await lock_row(session, Subscription, child_id)
        _demand_joinable(child, "child")
        if child.subscription_type is not SubscriptionType.STANDALONE or child.parent_subscription_id is not None:
            raise InvalidOperation("Only a standalone subscription can be grouped", {"subscription_id": child.id})
        if child.active_pause_id is not None:
            raise InvalidOperation("The child is to be paused", {"subscription_id": child.id})
        different = mismatch(parent, child)
        if different is not None:
            raise InvalidOperation(
                f"The child's {different} does not match the parent's",
                {"subscription_id": child.id, "field": different},
            )
        child.subscription_type = SubscriptionType.GROUPED_INVOICING
        child.parent_subscription_id = parent.id
        await record_change(session, child)
        made.append(child)
    if made and parent.subscription_type is not SubscriptionType.PARENT:
        parent.subscription_type = SubscriptionType.PARENT
        await record_change(session, parent)
    return made


async def ungroup(session: AsyncSession, child_ids: Sequence[str]) -> list[Subscription]:
    """Make grouped children standalone again. Raises NotFound, InvalidOperation."""
    made = []
    for child_id in sorted(set(child_ids)):
        child = await lock_row(session, Subscription, child_id)
        if child.subscription_type is not SubscriptionType.GROUPED_INVOICING:
            raise InvalidOperation("The subscription is not grouped", {"subscription_id": child.id})
        release(child)
        await record_change(session, child)
        made.append(child)
    return made


def _demand_parent(parent: Subscription) -> None:
    if parent.subscription_type not in {SubscriptionType.STANDALONE, SubscriptionType.PARENT}:
        raise InvalidOperation(
            f"A {parent.subscription_type.value} subscription cannot be a parent", {"subscription_id": parent.id}
        )


def _demand_joinable(subscription: Subscription, role: str) -> None:
    if subscription.subscription_status not in _JOINABLE:
        raise InvalidOperation(
            f"The {role} must be active or trialing, not {subscription.subscription_status.value}",
            {"subscription_id": subscription.id, "subscription_status": subscription.subscription_status.value},
        )


def mismatch(parent: Subscription, child: Subscription) -> str | None:
    """The first field in which a grouped child would not bill alongside its parent; None when it would."""
    for name in ("billing_period", "billing_period_count", "currency"):
        if getattr(parent, name) != getattr(child, name):
            return name
    zone = recurrence(parent).zone
    ours, theirs = to_local(parent.billing_anchor, zone), to_local(child.billing_anchor, zone)
    if (ours.day, ours.time().replace(microsecond=0)) != (theirs.day, theirs.time().replace(microsecond=0)):
        return "billing_anchor"
    if child.start_date < parent.start_date:
        return "start_date"
    # what is open ends together, or a fee that the child has paid would stand in the way of the family's; a trial
    # charges nothing and may end before
    early = child.subscription_status is SubscriptionStatus.TRIALING and (
        child.current_period_end < parent.current_period_end
    )
    return None if early or child.current_period_end == parent.current_period_end else "current_period_end"
