"""Balances of wallets: what each is held against, and what is said when its state changes.

The wallets are locked by whoever calls, and keep the states that the log has for their two streams, so that most looks
ask the log nothing.
Rule: docs/rules/alerts.md#balances-of-wallets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from farthing.notifications.alerts.log import (
    AlertEvent,
    AlertReading,
    AlertStream,
    Transition,
    record_transition,
    record_transitions,
)
from farthing.storage.queries.rows import in_array
from farthing.storage.record.outbox import record_event

_EVENTS = {
    AlertType.LOW_ONGOING_BALANCE: "wallet.ongoing_balance",
    AlertType.LOW_CREDIT_BALANCE: "wallet.credit_balance",
}
_STATES = {AlertType.LOW_ONGOING_BALANCE: "alert_state", AlertType.LOW_CREDIT_BALANCE: "credit_alert_state"}
"""Where a wallet keeps the state of each stream."""


@dataclass(frozen=True, slots=True)
class WatchedFigure:
    """A balance of a wallet that is held against its thresholds, in currency and in credits."""

    wallet: Wallet
    alert_type: AlertType
    amount: Decimal
    credits: Decimal


def _balance_of(wallet: Wallet) -> WatchedFigure:
    return WatchedFigure(wallet, AlertType.LOW_CREDIT_BALANCE, wallet.balance, wallet.credit_balance)


async def after_movements(session: AsyncSession, wallets: Sequence[Wallet], now: datetime) -> None:
    """Hold the balances of wallets that have moved against their thresholds."""
    await _follow(session, [_balance_of(wallet) for wallet in wallets], now)


async def after_evaluation(
    session: AsyncSession, balances: Sequence[tuple[Wallet, RealTimeBalance]], now: datetime
) -> None:
    """Hold real-time balances against the thresholds of wallets and of features, and say those that changed.

    The balances themselves are compared too: thresholds may have changed since the last movement.
    """
    figures = []
    for wallet, real_time in balances:
        figures.append(_balance_of(wallet))
        figures.append(WatchedFigure(wallet, AlertType.LOW_ONGOING_BALANCE, real_time.balance, real_time.credits))
    await _follow(session, figures, now)
    for wallet, real_time in balances:
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


async def _follow(session: AsyncSession, figures: Sequence[WatchedFigure], now: datetime) -> None:
    """Write a transition of each figure that is in another state than its wallet keeps for it."""
    watched = [(figure, await effective_settings(session, figure.wallet)) for figure in figures]
    # thresholds in per cent are of what was granted; those in credits need nothing
    shares = {figure.wallet.id for figure, settings in watched if settings.get("alert_threshold_type") == "percentage"}
    bases = await granted_credits(session, sorted(shares)) if shares else {}
    transitions = []
    for figure, settings in watched:
        wallet, attribute = figure.wallet, _STATES[figure.alert_type]
        before = getattr(wallet, attribute)
        if before is AlertState.OK and not settings["alert_enabled"]:
            continue
        state = alert_state(settings, figure.credits, bases.get(wallet.id, ZERO))
        if state is before:
            continue
        event = await _event(session, figure, settings, state) if settings["alert_enabled"] else None
        reading = AlertReading(state, figure.credits, settings, now)
        transitions.append(Transition(_stream(wallet, figure.alert_type), reading, event))
        setattr(wallet, attribute, state)
    await record_transitions(session, transitions)


async def _event(
    session: AsyncSession, figure: WatchedFigure, settings: Mapping[str, Any], state: AlertState
) -> AlertEvent | None:
    """What announces that a figure came to a state, if anything does."""
    name = await _event_name(session, figure.alert_type, state)
    if name is None:
        return None
    alert = {
        "state": state.value,
        "current_balance": plain(figure.amount),
        "credit_balance": plain(figure.credits),
        "alert_type": figure.alert_type.value,
        "alert_settings": dict(settings),
    }
    wallet = figure.wallet
    return AlertEvent(name, "wallet", wallet.id, {"wallet": wallet_snapshot(wallet), "alert": alert})


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
