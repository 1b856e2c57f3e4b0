"""Balances of wallets: what each is held against, and what is said when its state changes.

The wallets are locked by whoever calls, and keep the states that the log has for their two streams, so that most looks
ask the log nothing.
Rule: docs/rules/alerts.md#balances-of-wallets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import AlertState, alert_state
from farthing.catalogue.products.tables import Feature
from farthing.core.enums import Status
from farthing.core.money import ZERO, plain
from farthing.credits.ledger.events import wallet_snapshot
from farthing.credits.ledger.tables import Wallet
from farthing.credits.rules.real_time import RealTimeBalance
from farthing.credits.wallets.thresholds import effective_settings, granted_credits
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import WalletBalanceAlertConfig
from farthing.notifications.alert_enums import AlertEntityType, AlertType
from farthing.notifications.alert_tables import AlertLog
from farthing.notifications.alerts.log import AlertEvent, AlertReading, AlertStream, record_transition
from farthing.storage.queries.rows import in_array
from farthing.storage.record.outbox import record_event

_EVENTS = {
    AlertType.LOW_ONGOING_BALANCE: "wallet.ongoing_balance",
    AlertType.LOW_CREDIT_BALANCE: "wallet.credit_balance",
}
_STATES = {AlertType.LOW_ONGOING_BALANCE: "alert_state", AlertType.LOW_CREDIT_BALANCE: "credit_alert_state"}
"""Where a wallet keeps the state of each stream."""


async def after_movements(session: AsyncSession, wallets: Sequence[Wallet], now: datetime) -> None:
    """Hold the balances of wallets that have moved against their thresholds."""
    for wallet in wallets:
        await _follow(session, wallet, AlertType.LOW_CREDIT_BALANCE, (wallet.balance, wallet.credit_balance), now)


async def after_evaluation(
    session: AsyncSession, balances: Sequence[tuple[Wallet, RealTimeBalance]], now: datetime
) -> None:
    """Hold real-time balances against the thresholds of wallets and of features, and say those that changed.

    The balances themselves are compared too: thresholds may have changed since the last movement.
    """
    for wallet, real_time in balances:
        figures = (real_time.balance, real_time.credits)
        await _follow(session, wallet, AlertType.LOW_CREDIT_BALANCE, (wallet.balance, wallet.credit_balance), now)
        await _follow(session, wallet, AlertType.LOW_ONGOING_BALANCE, figures, now)
        if wallet.sent_real_time_credits != real_time.credits:
            wallet.sent_real_time_credits = real_time.credits
            body = {
                "wallet": wallet_snapshot(wallet),
                "real_time_balance": plain(real_time.balance),
                "real_time_credit_balance": plain(real_time.credits),
            }
            await record_event(session, "wallet.ongoing_balance.updated", "wallet", wallet.id, body)
    await _follow_features(session, balances, now)


async def end(session: AsyncSession, wallet: Wallet, now: datetime) -> None:
    """Nobody watches the wallet any more: what it is alarmed about ends, and nobody is told.

    Rule: docs/rules/alerts.md#alerts-that-end
    """
    for alert_type, attribute in _STATES.items():
        if getattr(wallet, attribute) not in (None, AlertState.OK):
            reading = AlertReading(AlertState.OK, wallet.credit_balance, wallet.alert_settings, now)
            await record_transition(session, _stream(wallet, alert_type), reading, None)
            setattr(wallet, attribute, AlertState.OK)


async def _follow(
    session: AsyncSession, wallet: Wallet, alert_type: AlertType, figures: tuple[Decimal, Decimal], now: datetime
) -> None:
    """Write a transition if the balance, in currency and in credits, is in another state than the wallet's."""
    settings, attribute = await effective_settings(session, wallet), _STATES[alert_type]
    before = getattr(wallet, attribute)
    if before is AlertState.OK and not settings["alert_enabled"]:
        return
    amount, in_credits = figures
    state = alert_state(settings, in_credits, await _base(session, wallet, settings))
    if state is before:
        return
    event = None
    name = await _event_name(session, alert_type, state) if settings["alert_enabled"] else None
    if name is not None:
        alert = {
            "state": state.value,
            "current_balance": plain(amount),
            "credit_balance": plain(in_credits),
            "alert_type": alert_type.value,
            "alert_settings": dict(settings),
        }
        event = AlertEvent(name, "wallet", wallet.id, {"wallet": wallet_snapshot(wallet), "alert": alert})
    await record_transition(session, _stream(wallet, alert_type), AlertReading(state, in_credits, settings, now), event)
    setattr(wallet, attribute, state)


async def _base(session: AsyncSession, wallet: Wallet, settings: Mapping[str, Any]) -> Decimal:
    """What thresholds in per cent are of; thresholds in credits need nothing."""
    if settings.get("alert_threshold_type") != "percentage":
        return ZERO
    return (await granted_credits(session, [wallet.id])).get(wallet.id, ZERO)


async def _event_name(session: AsyncSession, alert_type: AlertType, state: AlertState) -> str | None:
    """What announces that a wallet came to a state; warnings and infos are announced where the environment asks."""
    prefix = _EVENTS[alert_type]
    if state is AlertState.OK:
        return f"{prefix}.recovered"
    config = await current.read(session, WalletBalanceAlertConfig)
    return f"{prefix}.dropped" if state is AlertState.IN_ALARM or config.notify_all_levels else None


def _stream(wallet: Wallet, alert_type: AlertType) -> AlertStream:
    return AlertStream(alert_type, AlertEntityType.WALLET, wallet.id, wallet.customer_id)


async def _follow_features(
    session: AsyncSession, balances: Sequence[tuple[Wallet, RealTimeBalance]], now: datetime
) -> None:
    """Hold real-time balances against the thresholds of each feature that has any, and has them on."""
    watched = select(Feature).where(
        Feature.status == Status.PUBLISHED, Feature.alert_settings["alert_enabled"].as_boolean()
    )
    features = (await session.scalars(watched.order_by(Feature.id))).all()
    if not features:
        return
    states = await _feature_states(session, [wallet.id for wallet, _ in balances])
    for feature in features:
        settings = feature.alert_settings or {}
        for wallet, real_time in balances:
            state = alert_state(settings, real_time.credits, ZERO)
            # a first look, without a lock; what is written is decided beneath it
            if state is states.get((feature.id, wallet.id), AlertState.OK):
                continue
            stream = AlertStream(
                AlertType.FEATURE_WALLET_BALANCE,
                AlertEntityType.FEATURE,
                feature.id,
                wallet.customer_id,
                AlertEntityType.WALLET,
                wallet.id,
            )
            body = {
                "alert_type": stream.alert_type.value,
                "alert_status": state.value,
                "feature_id": feature.id,
                "wallet_id": wallet.id,
                "customer_id": wallet.customer_id,
                "current_balance": plain(real_time.balance),
                "credit_balance": plain(real_time.credits),
            }
            event = AlertEvent("feature.wallet_balance.alert", "feature", feature.id, body)
            await record_transition(session, stream, AlertReading(state, real_time.credits, settings, now), event)


async def _feature_states(session: AsyncSession, wallet_ids: Sequence[str]) -> Mapping[tuple[str, str], AlertState]:
    """The state of each stream of a feature and a wallet that has rows."""
    row = AlertLog
    newest = (
        select(row.entity_id, row.parent_entity_id, row.alert_status)
        .where(in_array(row.parent_entity_id, wallet_ids), row.alert_type == AlertType.FEATURE_WALLET_BALANCE)
        .ext(distinct_on(row.entity_id, row.parent_entity_id))
        .order_by(row.entity_id, row.parent_entity_id, row.position.desc())
    )
    return {
        (feature_id, wallet_id): state for feature_id, wallet_id, state in await session.execute(newest) if wallet_id
    }
