"""How long something takes, as people write it: "2 hours", "1 day 12 hours"."""

from __future__ import annotations

import re
from decimal import Decimal

from farthing.core.errors import ValidationFailed
from farthing.web.rendering.typed_fields import number_in
from farthing.web.rendering.words.wording import counted

_UNITS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
"""Seconds of each unit, the largest first."""
_WORDS = {
    "d": "day",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "m": "minute",
    "min": "minute",
    "mins": "minute",
    "s": "second",
    "sec": "second",
    "secs": "second",
    **{word: unit for unit in _UNITS for word in (unit, f"{unit}s")},
}
_PART = re.compile(r"(?P<count>[\d.,]+)\s*(?P<unit>[a-z]+)\s*(?:,|and\b)?\s*")
_NONE = frozenset({"0", "none", "at once"})
_LONGEST_DAYS = 366
EXAMPLE = "Such as 15 minutes, 2 hours or 1 day 12 hours"


def duration_in_words(seconds: int) -> str:
    """ "2 hours", "1 day 12 hours", "0 minutes": exact, in the largest units that it has."""
    parts = []
    for unit, length in _UNITS.items():
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(counted(count, unit))
    return " ".join(parts) or "0 minutes"


def seconds_in(field: str, typed: str) -> int:
    """The seconds that a duration in words means. Raises ValidationFailed for what is none.

    A number without a unit is refused, because it may be meant in any.
    """
    text = typed.strip().lower()
    if text in _NONE:
        return 0
    total, end = Decimal(0), 0
    while end < len(text):
        part = _PART.match(text, end)
        unit = _WORDS.get(part["unit"]) if part is not None else None
        if part is None or unit is None:
            raise ValidationFailed.of(field, "must be a number with days, hours or minutes, such as 2 hours")
        total += number_in(field, part["count"]) * _UNITS[unit]
        end = part.end()
    if total != total.to_integral_value():
        raise ValidationFailed.of(field, "must be whole seconds")
    if total > _LONGEST_DAYS * _UNITS["day"]:
        raise ValidationFailed.of(field, f"must be at most {_LONGEST_DAYS} days")
    return int(total)
