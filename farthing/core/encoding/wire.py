"""Structs as they travel: what a request body may hold, and how a response writes decimals and times.

Requests are decoded strictly by msgspec and then checked here for what types cannot say: finite decimals of bounded
size, times in UTC, metadata within limits, no NUL in any text. Responses carry decimals and times as text, made by
`money.plain` and `clock.instant` alone.
Rule: docs/rules/conventions.md#metadata
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from farthing.core import currency, money
from farthing.core.clock import as_utc, instant
from farthing.core.encoding import times
from farthing.core.errors import ValidationFailed

Moment = times.Moment
DecimalText = Annotated[str, Meta(description="exact decimal in plain notation")]
Timestamp = Annotated[str, Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]

METADATA_KEYS = 50
METADATA_KEY_LENGTH = 64
METADATA_VALUE_LENGTH = 500
MOST_ITEMS = 1_000
"""The most entries of a list or a map in a request, unless the field has a bound of its own: whoever needs more asks
more than once."""
LONGEST_ADDRESS = 2000
DEEPEST = 20
"""How deep lists and maps of a request may nest."""


class BadField(ValueError):
    """Fields of a struct are wrong, most often one; the decoder adds the path of the struct."""

    def __init__(self, field: str, reason: str, *, others: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
        self.problems: dict[str, str] = {field: reason, **(others or {})}


class Request(msgspec.Struct, kw_only=True):
    """Base of request bodies. Unknown fields are ignored; a subclass that adds checks calls `super()` first."""

    def __post_init__(self) -> None:
        problems: dict[str, str] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None or isinstance(value, (bool, int)):
                continue
            try:
                checked = _checked(name, value)
            except BadField as error:
                problems.setdefault(error.field, error.reason)
                continue
            if checked is not value:
                setattr(self, name, checked)
        if problems:
            (field, reason), *others = problems.items()
            raise BadField(field, reason, others=dict(others))


def _checked(name: str, value: Any, depth: int = 0) -> Any:
    try:
        if isinstance(value, Decimal):
            return money.checked(value)
        if isinstance(value, datetime):
            return as_utc(value)
    except ValueError as error:
        raise BadField(name, str(error)) from error
    if isinstance(value, str):
        if "\x00" in value:
            raise BadField(name, "must not contain NUL characters")
    elif isinstance(value, (dict, list)):
        if len(value) > MOST_ITEMS:
            raise BadField(name, f"must have at most {MOST_ITEMS} entries")
        if depth >= DEEPEST:
            raise BadField(name, f"must not nest deeper than {DEEPEST} levels")
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            if item is not None:
                _checked(name, item, depth + 1)
    return value


def currency_code(field: str, code: str) -> str:
    """The stored form of a currency field."""
    try:
        return currency.normalise(code)
    except ValueError as error:
        raise BadField(field, str(error)) from error


def stored_amount(field: str, amount: Decimal) -> Decimal:
    """An amount that a money column can hold. Raises BadField."""
    if abs(amount) > money.LARGEST_AMOUNT:
        raise BadField(field, f"must be at most {money.plain(money.LARGEST_AMOUNT)}")
    return amount


def web_address(field: str, url: str | None) -> str | None:
    """An address that a person may be sent to: http or https, with a host, and without a name and password in it.

    Empty reads as None. Raises BadField.
    """
    if not url:
        return None
    if len(url) > LONGEST_ADDRESS:
        raise BadField(field, f"must be at most {LONGEST_ADDRESS} characters long")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        fine = fine and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine or any(letter.isspace() or not letter.isprintable() or letter == "\\" for letter in url):
        raise BadField(field, "must be an http or https URL without a user name or password")
    return url


def checked_metadata(metadata: Mapping[str, str] | None, field: str = "metadata") -> dict[str, str]:
    """Metadata within its limits; None reads as empty. Raises ValidationFailed."""
    entries = dict(metadata or {})
    if len(entries) > METADATA_KEYS:
        raise ValidationFailed.of(field, f"must have at most {METADATA_KEYS} keys")
    for key, value in entries.items():
        if not 1 <= len(key) <= METADATA_KEY_LENGTH:
            raise ValidationFailed.of(field, f"keys must be 1 to {METADATA_KEY_LENGTH} characters long")
        if len(value) > METADATA_VALUE_LENGTH:
            raise ValidationFailed.of(f"{field}.{key}", f"must be at most {METADATA_VALUE_LENGTH} characters long")
    return entries


Self = TypeVar("Self", bound="Response")


_ABSENT: Any = object()
_NOTHING: Mapping[str, Any] = MappingProxyType({})
Writer = Callable[[Any], Any]


def _value_of(member: Enum) -> Any:
    return member.value


class _Writers(dict[type, Writer | None]):
    """How a stored value of a type travels: None where it travels as it is. Found out once for each type."""

    def __missing__(self, kind: type) -> Writer | None:
        writer: Writer | None = None
        if issubclass(kind, Decimal):
            writer = money.plain
        elif issubclass(kind, datetime):
            writer = instant
        elif issubclass(kind, Enum):
            writer = _value_of
        self[kind] = writer
        return writer


_WRITERS = _Writers()


class Response(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of response bodies: optional fields default to None and are then left out; all others are always sent."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Wire field to attribute, where they differ."""

    @classmethod
    def of(cls: type[Self], row: object, **given: Any) -> Self:
        """Build from an object's attributes of the same names; `given` wins, and holds what the row has not."""
        # a stored attribute is read where it is held, which is much cheaper than through the mapper's descriptor
        held = getattr(row, "__dict__", _NOTHING)
        writers = _WRITERS
        values = given
        for name, attribute in _fields_to_read(cls, *given):
            value = held.get(attribute, _ABSENT)
            if value is _ABSENT:
                value = getattr(row, attribute, _ABSENT)
                if value is _ABSENT:
                    continue
            write = writers[type(value)]
            values[name] = value if write is None else write(value)
        return cls(**values)


@cache
def _fields_to_read(kind: type[Response], *given: str) -> tuple[tuple[str, str], ...]:
    """The fields that are not given, each with the attribute it is read from."""
    return tuple((name, kind.renamed.get(name, name)) for name in kind.__struct_fields__ if name not in given)


def as_wire(value: Any) -> Any:
    """A stored value as it travels: decimals and times as text, enums as their values."""
    write = _WRITERS[type(value)]
    return value if write is None else write(value)


def json_number(value: Decimal) -> Any:
    """A decimal as a JSON number with all its digits, for the few fields that clients read as numbers."""
    return msgspec.Raw(money.plain(value).encode())


class Message(Response):
    """An answer that only says what was done."""

    message: str
