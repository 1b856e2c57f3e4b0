"""The event: one thing that happened, as the caller reported it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, when, and for whom. `id` is its whole identity within an environment.

    `timestamp` is aware UTC in whole milliseconds. `properties` holds JSON values with numbers as int or Decimal, never
    float (see `canonical.json_number`). `customer_id` is a hint that nothing relies on.
    """

    id: str
    event_name: str
    external_customer_id: str
    timestamp: datetime
    properties: Mapping[str, Any] = {}
    source: str = ""
    customer_id: str = ""


def same_content(first: UsageEvent, second: UsageEvent) -> bool:
    """Whether sending `second` after `first` would change nothing. Numbers compare by value: 5 and 5.0 are the same."""
    return (
        first.id == second.id
        and first.event_name == second.event_name
        and first.external_customer_id == second.external_customer_id
        and first.timestamp == second.timestamp
        and first.source == second.source
        and first.customer_id == second.customer_id
        and _same_json(dict(first.properties), dict(second.properties))
    )


def _same_json(first: object, second: object) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second  # to Python, true equals 1
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same_json(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(_same_json(*pair) for pair in zip(first, second, strict=True))
    return first == second
