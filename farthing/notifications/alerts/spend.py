"""Spend: what the usage of the open period costs, invoiced or not: of a subscription, a line item or a group.

The same calculation as on invoices; see `billing.reads.usage_so_far`.
Rule: docs/rules/alerts.md#spend
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.draft import DraftLine
from farthing.billing.reads.usage_so_far import priced_usages
from farthing.calendar.period import Period
from farthing.catalogue.products.alerts import AlertState, alert_state, reached_threshold
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import instant
from farthing.core.enums import PriceType, Status
from farthing.core.money import ZERO, exact_sum, plain
from farthing.events.requests import past
from farthing.notifications.alert_enums import AlertEntityType, AlertOwner, AlertType, SpendScope
from farthing.notifications.alert_tables import AlertLog, AlertSetting
from farthing.notifications.alerts.log import AlertEvent, AlertReading, AlertStream, record_transition
from farthing.notifications.email.queueing import NewEmail, queue
from farthing.notifications.email.tables import EmailKind
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.changes.events import event_snapshot
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

_TYPES = {
    SpendScope.SUBSCRIPTION: AlertType.SUBSCRIPTION_SPEND,
    SpendScope.SUBSCRIPTION_LINE_ITEM: AlertType.SUBSCRIPTION_LINE_ITEM_SPEND,
    SpendScope.GROUP: AlertType.SUBSCRIPTION_GROUP_SPEND,
}
_EVENTS = {
    SpendScope.SUBSCRIPTION: "subscription.spend",
    SpendScope.SUBSCRIPTION_LINE_ITEM: "subscription.line_item_spend",
    SpendScope.GROUP: "subscription.group_spend",
}
_NAMED_BY = {SpendScope.SUBSCRIPTION_LINE_ITEM: "subscription_line_item_id", SpendScope.GROUP: "group_id"}


async def evaluate_spend(session: AsyncSession, payer_id: str, now: datetime) -> None:
    """Hold the spend of the subscriptions that a customer pays for against their settings."""
    setting, subscription = AlertSetting, Subscription
    query = (
        select(setting, subscription)
        .join(subscription, subscription.id == setting.subscription_id)
        .where(
            subscription.payer_id == payer_id,
            subscription.status == Status.PUBLISHED,
            subscription.subscription_status == SubscriptionStatus.ACTIVE,
            subscription.full_period_start <= now,
            setting.status == Status.PUBLISHED,
            setting.enabled,
        )
        # the order in which streams are locked
        .order_by(setting.entity_id, setting.id)
    )
    watched = [(row[0], row[1]) for row in await session.execute(query)]
    if not watched:
        return
    periods = {
        watched_subscription.id: Period(
            # what came just now counts
            watched_subscription.full_period_start,
            min(past(now), watched_subscription.current_period_end),
        )
        for _, watched_subscription in watched
    }
    lines = await priced_usages(session, periods, now)
    meters = await meters_of_groups(
        session, [spend.entity_id for spend, _ in watched if spend.entity_type is SpendScope.GROUP]
    )
    for spend_setting, owner in watched:
        of_group = meters.get(spend_setting.entity_id, frozenset())
        value = spend_of(lines[owner.id], spend_setting.entity_type, spend_setting.entity_id, of_group)
        await _follow(session, spend_setting, owner, value, now)


def spend_of(
    lines: Sequence[DraftLine], scope: SpendScope, entity_id: str, meters_of_group: Collection[str]
) -> Decimal:
    """The usage charges among `lines` that belong to a subscription, a line item, or a group.

    A line belongs to a group by its price, or by the feature whose meter it counts.
    """
    usage = [line for line in lines if line.price_type is PriceType.USAGE]
    if scope is SpendScope.SUBSCRIPTION_LINE_ITEM:
        usage = [line for line in usage if line.item is not None and line.item.id == entity_id]
    elif scope is SpendScope.GROUP:
        usage = [
            line
            for line in usage
            if line.item is not None
            and (line.item.group_id == entity_id or (line.item.meter_id or "") in meters_of_group)
        ]
    return exact_sum([line.amount for line in usage])


async def meters_of_groups(session: AsyncSession, group_ids: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """The meters of the features in each group; a group without any is left out."""
    if not group_ids:
        return {}
    members: dict[str, set[str]] = {}
    query = select(Feature.group_id, Feature.meter_id).where(
        in_array(Feature.group_id, group_ids), Feature.status != Status.DELETED
    )
    for group_id, meter_id in await session.execute(query):
        if group_id is not None and meter_id is not None:
            members.setdefault(group_id, set()).add(meter_id)
    return {group_id: frozenset(meter_ids) for group_id, meter_ids in members.items()}


async def _follow(
    session: AsyncSession, setting: AlertSetting, subscription: Subscription, value: Decimal, now: datetime
) -> None:
    """Write a transition if the spend is in another state than its stream."""
    stream = AlertStream(
        _TYPES[setting.entity_type],
        AlertEntityType(setting.entity_type.value),
        setting.entity_id,
        subscription.customer_id,
        None if setting.parent_entity_type is None else AlertEntityType(setting.parent_entity_type.value),
        setting.parent_entity_id,
        setting.id,
        subscription.full_period_start,
    )
    state = alert_state(setting.config, value, subscription.commitment_amount or ZERO)
    reading = AlertReading(state, value, setting.config, now)
    if setting.set_by is AlertOwner.MERCHANT:
        await record_transition(session, stream, reading, _event(setting, subscription, stream, reading))
        return
    transition = await record_transition(session, stream, reading, None)
    if transition is not None and state is not AlertState.OK:
        await session.run_sync(queue, [_mail(setting, subscription, transition)])


def _mail(setting: AlertSetting, subscription: Subscription, transition: AlertLog) -> NewEmail:
    """What tells the customer that its spend came to a threshold of its own."""
    return NewEmail(
        kind=EmailKind.SPEND_ALERT,
        entity_id=setting.id,
        occasion=transition.id,
        customer_id=subscription.customer_id,
        details={
            "subscription_id": subscription.id,
            "spend": plain(transition.value_at_time),
            "threshold": reached_threshold(setting.config, transition.alert_status) or "0",
            "period_start": instant(subscription.full_period_start),
        },
    )


def _event(setting: AlertSetting, subscription: Subscription, stream: AlertStream, reading: AlertReading) -> AlertEvent:
    body: dict[str, Any] = {
        "subscription": event_snapshot(subscription),
        "alert_type": stream.alert_type.value,
        "alert_status": reading.state.value,
        "current_spend": plain(reading.value),
        "triggered_at": instant(reading.at),
    }
    if setting.entity_type in _NAMED_BY:
        body[_NAMED_BY[setting.entity_type]] = setting.entity_id
    threshold = reached_threshold(setting.config, reading.state)
    if threshold is not None:
        body["threshold"] = threshold
    change = "threshold_recovered" if reading.state is AlertState.OK else "threshold_reached"
    name = f"{_EVENTS[setting.entity_type]}.{change}"
    return AlertEvent(name, "subscription", subscription.id, body)
