"""Finding alerts: pages of the log, and the answers that carry them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import LEVELS
from farthing.catalogue.products.answers import feature_answers
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import instant
from farthing.core.money import plain
from farthing.credits.ledger.tables import Wallet
from farthing.credits.routes import wallet_answer
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.notifications.alert_enums import AlertEntityType
from farthing.notifications.alert_tables import AlertLog, AlertSetting
from farthing.notifications.alerts.schemas import (
    AlertConfigResponse,
    AlertInfoResponse,
    AlertLevelResponse,
    AlertLogQuery,
    AlertLogResponse,
    AlertSettingsResponse,
)
from farthing.storage.queries.listing import by_id, select_page
from farthing.storage.queries.rows import in_array

SEARCHABLE = (
    "id",
    "entity_type",
    "entity_id",
    "parent_entity_type",
    "parent_entity_id",
    "customer_id",
    "alert_setting_id",
    "alert_type",
    "alert_status",
    "value_at_time",
    "created_at",
    "updated_at",
)


async def alerts_page(session: AsyncSession, query: AlertLogQuery) -> tuple[list[AlertLog], int]:
    """One page of the log, newest first, and how many rows match."""
    row = AlertLog
    statement = select(row)
    for column, value in (
        (row.entity_type, query.entity_type),
        (row.entity_id, query.entity_id),
        (row.alert_type, query.alert_type),
        (row.alert_status, query.alert_status),
        (row.customer_id, query.customer_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return await select_page(session, row, query, SEARCHABLE, statement)


async def alert_answers(
    session: AsyncSession, rows: Sequence[AlertLog], wanted: Collection[str] = ()
) -> list[AlertLogResponse]:
    """Alerts as they travel, with the customers, wallets and features that are wanted."""
    answers = [alert_answer(row) for row in rows]
    customers = await _by_id(session, Customer, _customer_id, answers) if "customer" in wanted else {}
    wallets = await _by_id(session, Wallet, _wallet_id, answers) if "wallet" in wanted else {}
    features = await _by_id(session, Feature, _feature_id, answers) if "feature" in wanted else {}
    shown = {feature.id: feature for feature in await feature_answers(session, list(features.values()))}
    for answer in answers:
        customer, wallet = customers.get(_customer_id(answer)), wallets.get(_wallet_id(answer))
        answer.customer = None if customer is None else CustomerResponse.of(customer)
        answer.wallet = None if wallet is None else wallet_answer(wallet)
        answer.feature = shown.get(_feature_id(answer))
    return answers


def alert_answer(row: AlertLog) -> AlertLogResponse:
    """One alert as it travels."""
    settings = None if row.alert_settings is None else config_answer(row.alert_settings)
    return AlertLogResponse.of(
        row,
        alert_info=AlertInfoResponse(
            value_at_time=plain(row.value_at_time), timestamp=instant(row.created_at), alert_settings=settings
        ),
    )


def setting_answer(row: AlertSetting) -> AlertSettingsResponse:
    """Settings as they travel."""
    return AlertSettingsResponse.of(row, config=config_answer(row.config))


def config_answer(config: Mapping[str, Any]) -> AlertConfigResponse:
    """Thresholds as they travel."""
    levels = {level: AlertLevelResponse(**config[level]) for level in LEVELS if config.get(level)}
    return AlertConfigResponse(
        alert_enabled=config["alert_enabled"], alert_threshold_type=config.get("alert_threshold_type"), **levels
    )


async def _by_id(session: AsyncSession, table: Any, name: Any, answers: Sequence[AlertLogResponse]) -> dict[str, Any]:
    ids = {name(answer) for answer in answers} - {""}
    return by_id((await session.scalars(select(table).where(in_array(table.id, ids)))).all())


def _customer_id(answer: AlertLogResponse) -> str:
    return answer.customer_id or ""


def _wallet_id(answer: AlertLogResponse) -> str:
    if answer.entity_type == AlertEntityType.WALLET:
        return answer.entity_id
    return answer.parent_entity_id or "" if answer.parent_entity_type == AlertEntityType.WALLET else ""


def _feature_id(answer: AlertLogResponse) -> str:
    return answer.entity_id if answer.entity_type == AlertEntityType.FEATURE else ""
