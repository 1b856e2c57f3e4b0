"""Settings for spend: made, changed, removed.

Rule: docs/rules/alerts.md#settings-of-spend
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import LEVELS, settled
from farthing.catalogue.products.schemas import AlertCondition
from farthing.catalogue.products.tables import GroupRow
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.credits.schemas import WalletAlertRequest
from farthing.notifications.alert_enums import AlertOwner, SpendScope
from farthing.notifications.alert_tables import AlertSetting
from farthing.notifications.alerts.evaluation import plan_look
from farthing.notifications.alerts.schemas import (
    AlertSettingsQuery,
    CreateAlertSettingsRequest,
    UpdateAlertSettingsRequest,
)
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find, in_array, lock_row, unique
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

SEARCHABLE = ("id", "entity_type", "entity_id", "parent_entity_id", "enabled", "created_at", "updated_at")


async def create_setting(
    session: AsyncSession, request: CreateAlertSettingsRequest, now: datetime, owner: AlertOwner = AlertOwner.MERCHANT
) -> AlertSetting:
    """Watch the spend of an entity from now on. Raises NotFound, ValidationFailed, AlreadyExists, InvalidOperation."""
    subscription = await _subscription_of(session, request)
    config = checked_config(request.config)
    setting = AlertSetting(
        id=new_id(Kind.ALERT_SETTINGS),
        entity_type=request.entity_type,
        entity_id=request.entity_id,
        parent_entity_type=request.parent_entity_type,
        parent_entity_id=request.parent_entity_id,
        customer_id=subscription.customer_id,
        config=config,
        enabled=config["alert_enabled"],
        set_by=owner,
    )
    refusal = AlreadyExists(
        f"The {request.entity_type.value} has alert settings already; change those",
        {"entity_type": request.entity_type.value, "entity_id": request.entity_id},
    )
    async with unique(session, uq_alert_settings_entity=refusal):
        session.add(setting)
    await plan_look(session, subscription.payer_id, now)
    return setting


async def update_setting(
    session: AsyncSession, setting_id: str, request: UpdateAlertSettingsRequest, now: datetime
) -> AlertSetting:
    """Replace the thresholds of a setting as a whole. Raises NotFound, ValidationFailed."""
    setting = await lock_row(session, AlertSetting, setting_id)
    subscription = await find(session, Subscription, setting.subscription_id)
    setting.config = checked_config(request.config)
    setting.enabled = setting.config["alert_enabled"]
    await session.flush()
    await plan_look(session, subscription.payer_id, now)
    return setting


async def delete_setting(session: AsyncSession, setting_id: str) -> None:
    """Watch no more. What was logged stays. Raises NotFound."""
    setting = await lock_row(session, AlertSetting, setting_id)
    setting.status, setting.enabled = Status.DELETED, False
    await session.flush()


async def settings_page(session: AsyncSession, query: AlertSettingsQuery) -> tuple[list[AlertSetting], int]:
    """One page of settings and how many match."""
    row = AlertSetting
    statement = select(row)
    for column, value in (
        (row.entity_type, query.entity_type),
        (row.entity_id, query.entity_id),
        (row.parent_entity_type, query.parent_entity_type),
        (row.parent_entity_id, query.parent_entity_id),
        (row.enabled, query.enabled),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if query.entity_ids is not None:
        statement = statement.where(in_array(row.entity_id, query.entity_ids))
    if query.parent_entity_ids is not None:
        statement = statement.where(in_array(row.parent_entity_id, query.parent_entity_ids))
    return await select_page(session, row, query, SEARCHABLE, statement)


def checked_config(request: WalletAlertRequest) -> dict[str, Any]:
    """Thresholds of spend as they are stored. Raises ValidationFailed for those that make no sense."""
    config = settled(None, request, "config")
    for level in LEVELS:
        if level in config and config[level]["condition"] != AlertCondition.ABOVE:
            raise ValidationFailed.of(f"config.{level}.condition", "must be 'above': spend only grows")
    return {**config, "alert_threshold_type": request.alert_threshold_type}


async def _subscription_of(session: AsyncSession, request: CreateAlertSettingsRequest) -> Subscription:
    """The subscription whose spend is watched; raises NotFound and ValidationFailed if the entity is no part of it."""
    subscription = await find(session, Subscription, request.parent_entity_id or request.entity_id)
    if request.entity_type is SpendScope.SUBSCRIPTION_LINE_ITEM:
        item = await find(session, SubscriptionLineItem, request.entity_id)
        if item.subscription_id != subscription.id:
            raise ValidationFailed.of("parent_entity_id", "must be the subscription that the line item belongs to")
    elif request.entity_type is SpendScope.GROUP:
        group = await find(session, GroupRow, request.entity_id)
        if group.status is not Status.PUBLISHED:
            raise InvalidOperation("The group is archived and has no members", {"group_id": group.id})
    return subscription
