"""What a record of the source says, however it is written: a field that is absent, null, empty or the zero time says
nothing; numbers may be text, and ids of other versions of the API have other fields beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from farthing.core.encoding.wire import METADATA_KEY_LENGTH, METADATA_KEYS, METADATA_VALUE_LENGTH
from farthing.core.errors import ValidationFailed
from farthing.core.money import ZERO

SourceRecord = dict[str, Any]
_AS_THEY_ARE = frozenset({"metadata", "properties", "config_value", "rules", "filter_values", "configuration"})
_MOST_DIGITS = 30
_ZERO_TIME = "0001-01-01T"


def tidied(value: Any) -> Any:
    """A decoded answer without the fields that say nothing; what callers of the source wrote themselves stays."""
    if isinstance(value, dict):
        return {
            name: field if name in _AS_THEY_ARE else tidied(field)
            for name, field in value.items()
            if not _says_nothing(field)
        }
    if isinstance(value, list):
        return [tidied(member) for member in value if member is not None]
    return value


def _says_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, str) and value.startswith(_ZERO_TIME))


def fields_of(record: Mapping[str, Any], names: Iterable[str]) -> SourceRecord:
    """Those of these fields that the record has."""
    return {name: record[name] for name in names if name in record}


def decimal_of(record: Mapping[str, Any], name: str) -> Decimal:
    """A figure; 0 where the record has none. Raises ValidationFailed for what is no number."""
    try:
        value = Decimal(str(record.get(name) or 0))
    except InvalidOperation as error:
        raise ValidationFailed.of(name, f"is no number at the source: {str(record[name])[:50]}") from error
    if not value.is_finite() or not -_MOST_DIGITS < value.adjusted() < _MOST_DIGITS:
        raise ValidationFailed.of(name, f"is no number at the source that can be kept: {str(record[name])[:50]}")
    return value or ZERO


def time_of(record: Mapping[str, Any], name: str) -> datetime | None:
    """A time; None where the record has none. Raises ValidationFailed for what is no time."""
    given = record.get(name)
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(str(given))
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValidationFailed.of(name, f"is no time at the source: {given}") from error


def metadata_of(record: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    """A record's metadata as text, within the limits that hold here; what lies beyond them is named in `problems`."""
    given = record.get("metadata")
    entries = {str(key): _text(value) for key, value in given.items()} if isinstance(given, dict) else {}
    kept = {
        key: value
        for key, value in entries.items()
        if 1 <= len(key) <= METADATA_KEY_LENGTH and len(value) <= METADATA_VALUE_LENGTH and "\x00" not in key + value
    }
    kept = dict(list(kept.items())[:METADATA_KEYS])
    if len(kept) < len(entries):
        lost = ", ".join(sorted(entries.keys() - kept.keys()))
        problems.append(f"metadata {lost} lies beyond the limits and was left out")
    return kept


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
