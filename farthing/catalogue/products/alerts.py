"""Thresholds on a feature: which settings make sense, and what state a value is in."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any

from msgspec import UNSET

from farthing.catalogue.products.schemas import AlertCondition, AlertThresholdRequest, FeatureAlertRequest
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain

LEVELS = ("critical", "warning", "info")


class AlertState(StrEnum):
    """How alarming a value is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    IN_ALARM = "in_alarm"


_STATES = {"critical": AlertState.IN_ALARM, "warning": AlertState.WARNING, "info": AlertState.INFO}


def settled(stored: dict[str, Any] | None, request: FeatureAlertRequest) -> dict[str, Any]:
    """Settings as stored, with those of `request` laid over them field by field.

    Raises ValidationFailed when the result makes no sense.
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
    _check(result)
    return result


def _check(settings: dict[str, Any]) -> None:
    given = [settings[level] for level in LEVELS if level in settings]
    if settings["alert_enabled"] and not given:
        raise ValidationFailed.of("alert_settings", "needs at least one threshold to be enabled")
    if "warning" in settings and "critical" not in settings:
        raise ValidationFailed.of("alert_settings.warning", "needs a critical threshold beside it")
    conditions = {threshold["condition"] for threshold in given}
    if len(conditions) > 1:
        raise ValidationFailed.of("alert_settings", "all thresholds must have the same condition")
    above = AlertCondition.ABOVE.value in conditions
    for graver, milder in pairwise(Decimal(threshold["threshold"]) for threshold in given):
        if (graver < milder) if above else (graver > milder):
            order = "info <= warning <= critical" if above else "info >= warning >= critical"
            raise ValidationFailed.of("alert_settings", f"thresholds must satisfy {order}")


def state_of(value: Decimal, settings: dict[str, Any]) -> AlertState:
    """The gravest threshold that `value` has reached; a value on a threshold has reached it."""
    for level in LEVELS:
        if level in settings:
            threshold = Decimal(settings[level]["threshold"])
            above = settings[level]["condition"] == AlertCondition.ABOVE
            if value >= threshold if above else value <= threshold:
                return _STATES[level]
    return AlertState.OK
