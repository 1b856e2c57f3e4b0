"""The one way to read a time that a client sends: RFC 3339, with any offset, never naive; digits beyond the
microsecond are dropped.

Rule: docs/rules/conventions.md#times
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

_NO_TEXT = "must be a time as text, for example 2024-03-20T15:04:05Z"
_EXCESS_DIGITS = re.compile(r"(\.\d{6})\d+")
_TYPED = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?P<second>:\d\d(?:\.\d+)?)?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?"
)


class _AnyDatetime(type):
    """Makes every datetime an instance: what the decoder's hook returns is checked against the field's type."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class MomentText(metaclass=_AnyDatetime):
    """The type of a time while it is decoded: msgspec's own datetime would round the digits that it cannot keep."""


if TYPE_CHECKING:
    Moment = datetime
else:
    Moment = Annotated[MomentText, Meta(extra_json_schema={"type": "string", "format": "date-time"})]
"""A time in a request; a plain `datetime` in UTC once the request is decoded."""


def read_time(text: str) -> datetime:
    """The instant that `text` names, in UTC, cut to microseconds. Raises ValueError."""
    if len(text) > len("2024-03-20T15:04:05.123456Z"):
        text = _EXCESS_DIGITS.sub(r"\1", text, count=1)
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise ValueError("must be a time as in RFC 3339, for example 2024-03-20T15:04:05Z") from error
    if moment.tzinfo is None:
        raise ValueError("must carry a time zone, for example 2024-03-20T15:04:05Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def read_typed_time(text: str) -> datetime:
    """As `read_time`, of what a person types into a page: the time of day may be absent, and a time without an offset
    is UTC. Raises ValueError."""
    match = _TYPED.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a date or a time, for example 2026-11-01 or 2026-11-01T00:00:00Z")
    minute, second, zone = match["minute"] or "00:00", match["second"] or ":00", match["zone"] or "Z"
    return read_time(f"{match['date']}T{minute}{second}{zone}")


def decode_special(kind: type[Any], value: Any) -> Any:
    """The decoder's hook for types of ours. Raises ValueError, which the decoder names with its path."""
    if kind is not MomentText:
        raise NotImplementedError(f"no decoder reads {kind}")
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(_NO_TEXT)  # noqa: TRY004 (the decoder reports values)
    return read_time(value)
