"""Thresholds on a feature: which settings make sense, and what state a value is in."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any

from msgspec import UNSET

from farthing.catalogue.products.schemas import AlertCondition, AlertThresholdRequest, FeatureAlertRequest
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, plain

LEVELS = ("critical", "warning", "info")


class AlertState(StrEnum):
    """How alarming a value is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    IN_ALARM = "in_alarm"


_STATES = {"critical": AlertState.IN_ALARM, "warning": AlertState.WARNING, "info": AlertState.INFO}


def settled(
    stored: dict[str, Any] | None, request: FeatureAlertRequest, field: str = "alert_settings"
) -> dict[str, Any]:
    """Settings as stored, with those of `request` laid over them field by field.

    Raises ValidationFailed, which names parts of `field`, when the result makes no sense.
    Rule: docs/rules/catalogue.md#alert-settings
    """
    result = dict(stored or {})
    for level in LEVELS:
        given = getattr(request, level)
        if isinstance(given, AlertThresholdRequest):
            result[level] = {"threshold": plain(given.threshold), "condition": given.condition.value}
        elif given is not UNSET:
            result.pop(level, None)
    if request.alert_enabled is not None:
        result["alert_enabled"] = request.alert_enabled
    result.setdefault("alert_enabled", False)
    _check(result, field)
    return result


def _check(settings: dict[str, Any], field: str) -> None:
    given = [settings[level] for level in LEVELS if level in settings]
    if settings["alert_enabled"] and not given:
        raise ValidationFailed.of(field, "needs at least one threshold to be enabled")
    if "warning" in settings and "critical" not in settings:
        raise ValidationFailed.of(f"{field}.warning", "needs a critical threshold beside it")
    conditions = {threshold["condition"] for threshold in given}
    if len(conditions) > 1:
        raise ValidationFailed.of(field, "all thresholds must have the same condition")
    above = AlertCondition.ABOVE.value in conditions
    for graver, milder in pairwise(Decimal(threshold["threshold"]) for threshold in given):
        if (graver < milder) if above else (graver > milder):
            order = "info <= warning <= critical" if above else "info >= warning >= critical"
            raise ValidationFailed.of(field, f"thresholds must satisfy {order}")


def state_of(value: Decimal, settings: Mapping[str, Any]) -> AlertState:
    """The gravest threshold that `value` has reached; a value on a threshold has reached it."""
    for level in LEVELS:
        if level in settings:
            threshold = Decimal(settings[level]["threshold"])
            above = settings[level]["condition"] == AlertCondition.ABOVE
            if value >= threshold if above else value <= threshold:
                return _STATES[level]
    return AlertState.OK


def alert_state(settings: Mapping[str, Any], value: Decimal, base: Decimal) -> AlertState:
    """The state of `value` under settings that may be off; `base` is what thresholds in per cent are of.

    Without a base nothing is alarming.
    Rule: docs/rules/alerts.md#states
    """
    if not settings["alert_enabled"]:
        return AlertState.OK
    if settings.get("alert_threshold_type") != "percentage":
        return state_of(value, settings)
    if base <= 0:
        return AlertState.OK
    return state_of(EXACT.divide(EXACT.multiply(value, Decimal(100)), base), settings)


def reached_threshold(settings: Mapping[str, Any], state: AlertState) -> str | None:
    """The threshold that put a value into `state`, as text; None for `ok`."""
    for level, reached in _STATES.items():
        if reached is state:
            threshold: str = settings[level]["threshold"]
            return threshold
    return None
