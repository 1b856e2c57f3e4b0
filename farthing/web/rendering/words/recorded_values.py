"""Values of the activity log as people read them: money with its currency, times on the reader's wall, states and
structures in plain words.

The log keeps values as they travel, so what a text is follows from the name of its field and from its shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from markupsafe import Markup

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.web.rendering.words.differences import FieldDifference, differences
from farthing.web.rendering.words.field_names import in_words
from farthing.web.rendering.words.wording import moment, money, quantity, words

LONGEST_VALUE = 120
_NOTHING: Sequence[Any] = (None, "", [], {})
_NUMBER = re.compile(r"-?\d{1,24}(\.\d{1,24})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CONSTANT = re.compile(r"[A-Z]{2,}(_[A-Z]+)+|[A-Z]{5,}")
"""States and kinds as the API writes them; currencies and countries are shorter."""
_MONEY = frozenset(
    {"amount", "amounts", "balance", "discount", "price", "revenue", "subtotal", "tax", "total", "value"}
)
_NO_MONEY = frozenset({"credit", "credits", "id", "ids", "percentage", "quantity", "rate", "type", "unit", "unlimited"})
_UNITS_OF_MONEY = frozenset({"unit_amount"})
_COUNTED = frozenset(
    {"above", "balance", "credits", "factor", "limit", "quantity", "quantities", "rate", "to", "usage"}
)


def shown_state(state: Mapping[str, Any] | None) -> list[FieldDifference]:
    """What an entity was after a change, field by field, without what it had nothing of."""
    parts = differences([{"field": name, "before": None, "after": value} for name, value in (state or {}).items()])
    return [part for part in parts if part.after not in _NOTHING]


def shown_value(field: str, value: Any, currency: str | None = None, zone: str = "UTC") -> Markup | str:
    """A value of a field of an entity whose amounts are in `currency`, as people read it."""
    if value in _NOTHING:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _text(field, value, currency, zone)
    if isinstance(value, int | float):
        return str(value)
    return _cut("; ".join(_parts(field, "", value, currency, zone)))


def plain_text(shown: Markup | str) -> str:
    """What is shown, without its markup."""
    return shown.striptags() if isinstance(shown, Markup) else shown


def _text(field: str, text: str, currency: str | None, zone: str) -> Markup | str:
    if _TIME.fullmatch(text) and (at := _time_of(text)) is not None:
        return moment(at, zone)
    if _NUMBER.fullmatch(text):
        name = field.rpartition(".")[2].partition("[")[0]
        parts = frozenset(name.split("_"))
        if currency and (name in _UNITS_OF_MONEY or (parts & _MONEY and not parts & _NO_MONEY)):
            return money(text, currency)
        return quantity(text) if parts & _COUNTED else text
    if _CONSTANT.fullmatch(text):
        return words(text)
    structure = _structure_in(text)
    if structure is not None:
        return shown_value(field, structure, currency, zone)
    return _cut(_DAY.sub(_day_in_words, _TIME.sub(lambda found: _moment_in_words(found, zone), text)))


def _parts(field: str, name: str, value: Any, currency: str | None, zone: str) -> Iterator[str]:
    """The parts of a structure, each with its name: "Tiers 1, up to: 1,000"."""
    match value:
        case {"truncated": True}:
            yield "too large to be kept here"
        case dict():
            for key, member in value.items():
                yield from _parts(f"{field}.{key}", f"{name}.{key}" if name else str(key), member, currency, zone)
        case list() if any(isinstance(item, dict | list) for item in value):
            for place, member in enumerate(value):
                yield from _parts(field, f"{name}[{place}]", member, currency, zone)
        case _:
            items = value if isinstance(value, list) else [value]
            shown = ", ".join(plain_text(shown_value(field, item, currency, zone)) for item in items)
            yield f"{in_words(name).strip()}: {shown}" if name else shown


def _structure_in(text: str) -> Any:
    """The structure that a text is the JSON of; None for any other text."""
    if text[:1] not in {"{", "["}:
        return None
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict | list) and found else None


def _time_of(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _moment_in_words(found: re.Match[str], zone: str) -> str:
    at = _time_of(found[0])
    return found[0] if at is None else to_local(at, zone_or_abbreviation(zone)).strftime("%-d %b %Y, %H:%M")


def _day_in_words(found: re.Match[str]) -> str:
    try:
        return date.fromisoformat(found[0]).strftime("%-d %b %Y")
    except ValueError:
        return found[0]


def _cut(text: str) -> Markup | str:
    if len(text) <= LONGEST_VALUE:
        return text
    return Markup('<span title="{}">{}…</span>').format(text[:2000], text[:LONGEST_VALUE])
