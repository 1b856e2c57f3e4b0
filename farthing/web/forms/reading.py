"""From what was typed into a form to the body of a request, and from what stands to what a form shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

import msgspec

from farthing.core.encoding.decoding import UNREADABLE, holds_nul
from farthing.core.encoding.wire import checked_metadata
from farthing.core.errors import ValidationFailed
from farthing.core.money import plain
from farthing.web.forms.durations import duration_in_words, seconds_in
from farthing.web.forms.fields import MOST_ROWS, FieldKind, FormField, FormRows, Sections, ShownWhen, parts_of
from farthing.web.rendering.typed_fields import number_in

_ROW = re.compile(r"(?P<table>[a-z_.]+)\[(?P<index>\d{1,4})\]\.(?P<column>[a-z_.]+)")
_TEXTS = frozenset({FieldKind.TEXT, FieldKind.EMAIL, FieldKind.AREA, FieldKind.CHOICE, FieldKind.CURRENCY})
ADD_ROW, REMOVE_ROW, LOOK = "more", "fewer", "look"
"""Names of buttons that send a form only to see it again: with a row more, a row less, or as it is."""


def creation_of(sections: Sections, given: Mapping[str, str]) -> dict[str, Any]:
    """The body that a form makes, without what was left blank. Raises ValidationFailed for what is no number."""
    return _body(sections, given, frozenset())


def change_of(sections: Sections, given: Mapping[str, str]) -> dict[str, Any]:
    """The body of a change, in which a blank text says that there is none. Raises ValidationFailed."""
    return _body(sections, given, _TEXTS)


def _body(sections: Sections, given: Mapping[str, str], said_blank: frozenset[FieldKind]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for part, conditions in parts_of(sections):
        if not counts(conditions, sections, given):
            continue
        try:
            if isinstance(part, FormRows):
                _put_rows(body, part, given)
            else:
                value = _value(part, part.name, given)
                if value is not None:
                    _put(body, part.name, value)
                elif part.required:
                    problems[part.name] = "is required"
                elif part.kind in said_blank and "." not in part.name:
                    _put(body, part.name, "")
        except ValidationFailed as error:
            problems |= error.details
    if problems:
        raise ValidationFailed.listing(problems)
    return body


def counts(conditions: tuple[ShownWhen, ...], sections: Sections, given: Mapping[str, str]) -> bool:
    """Whether a part with these conditions is shown for what was typed."""
    initial = {part.name: part.initial for part, _ in parts_of(sections) if isinstance(part, FormField)}
    return all(
        (given[condition.field] if condition.field in given else initial.get(condition.field, "")) in condition.values
        for condition in conditions
    )


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    body[last] = value


def _put_rows(body: dict[str, Any], table: FormRows, given: Mapping[str, str]) -> None:
    rows = [_row(table, index, given) for index in row_numbers(table.name, given)]
    if table.name != "metadata":
        if any(rows):
            _put(body, table.name, [row for row in rows if row])
        return
    entries: dict[str, str] = body.setdefault("metadata", {})
    for index, row in enumerate(rows):
        if row and not row.get("key"):
            raise ValidationFailed.of(f"metadata[{index}].key", "is required")
        if row and row["key"] in entries:
            raise ValidationFailed.of(f"metadata[{index}].key", "is given twice")
        if row:
            entries[row["key"]] = row.get("value", "")
    checked_metadata(entries)


def _row(table: FormRows, index: int, given: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        value = _value(column, f"{table.name}[{index}].{column.name}", given)
        if value is not None:
            _put(row, column.name, value)
    return row


def row_numbers(table: str, given: Mapping[str, str]) -> list[int]:
    """The numbers of the rows of a table of which anything was sent, in order."""
    rows = (_ROW.fullmatch(name) for name in given)
    return sorted({int(row["index"]) for row in rows if row is not None and row["table"] == table})


def _value(field: FormField, path: str, given: Mapping[str, str]) -> Any:
    """What a field says; None for nothing. Raises ValidationFailed, naming `path`."""
    text = given.get(path, "")
    match field.kind:
        case FieldKind.TICK:
            return path in given
        case _ if not text:
            return None
        case kind if kind in _NUMBERS:
            return _NUMBERS[kind](path, text)
        case FieldKind.NUMBERS:
            return [_whole(path, each) for each in text.split(",") if each.strip()]
        case FieldKind.DATE:
            return f"{text}T00:00:00Z" if "T" not in text else text
        case FieldKind.LIST:
            return [each.strip() for each in text.split(",") if each.strip()]
        case FieldKind.JSON:
            if holds_nul(text.encode()):
                raise ValidationFailed.of(path, "must not hold the character NUL")
            try:
                return msgspec.json.decode(text)
            except UNREADABLE as error:
                raise ValidationFailed.of(path, 'must be JSON such as {"model": "fast"}') from error
        case FieldKind.AREA:
            # a browser ends lines as the network does
            return text.replace("\r\n", "\n")
        case _:
            return text


def _whole(path: str, text: str) -> int:
    number = number_in(path, text)
    if number != number.to_integral_value():
        raise ValidationFailed.of(path, "must be a whole number")
    return int(number)


_NUMBERS: Mapping[FieldKind, Callable[[str, str], Decimal | int]] = MappingProxyType(
    {FieldKind.AMOUNT: number_in, FieldKind.WHOLE: _whole, FieldKind.DURATION: seconds_in}
)
"""How each kind of number is read."""


def is_only_looked_at(given: Mapping[str, str]) -> bool:
    """Whether a form was sent to be seen again, and nothing shall be done."""
    return any(given.get(name) for name in (ADD_ROW, REMOVE_ROW, LOOK))


def reshaped(given: Mapping[str, str]) -> dict[str, str]:
    """What was typed, with its rows numbered anew from 0 without blank ones; one more or less where a button asks."""
    removed, _, number = given.get(REMOVE_ROW, "").partition(":")
    shaped = bool(removed or given.get(ADD_ROW))
    fields = {name: text for name, text in given.items() if _ROW.fullmatch(name) is None}
    rows: dict[str, dict[int, dict[str, str]]] = {}
    for name, text in given.items():
        if (row := _ROW.fullmatch(name)) is not None:
            rows.setdefault(row["table"], {}).setdefault(int(row["index"]), {})[row["column"]] = text
    for table, by_number in rows.items():
        kept = [
            columns
            for index, columns in sorted(by_number.items())
            if (table, str(index)) != (removed, number) and (shaped or any(columns.values()))
        ]
        for index, columns in enumerate(kept[:MOST_ROWS]):
            fields |= {f"{table}[{index}].{column}": text for column, text in columns.items()}
    more = given.get(ADD_ROW, "")
    count = len(row_numbers(more, fields))
    if more and count < MOST_ROWS:
        fields[f"{more}[{count}].new"] = ""
    return fields


def shown_values(sections: Sections, stands: Mapping[str, Any]) -> dict[str, str]:
    """What a form shows of a body as the API answers it."""
    shown: dict[str, str] = {}
    single = {part.name for part, _ in parts_of(sections) if isinstance(part, FormField)}
    for part, _ in parts_of(sections):
        value = _at(stands, part.name)
        if isinstance(part, FormField):
            if part.kind is not FieldKind.TICK or value:
                shown[part.name] = _text(value, part.kind)
            continue
        for index, row in enumerate(_rows_of(part, value, single)):
            for column in part.columns:
                shown[f"{part.name}[{index}].{column.name}"] = _text(_at(row, column.name), column.kind)
    return shown


def _rows_of(table: FormRows, value: Any, single: set[str]) -> list[Mapping[str, Any]]:
    if table.name != "metadata":
        return list(value or ())
    return [
        {"key": key, "value": text}
        for key, text in (value or {}).items()
        if isinstance(text, str) and f"metadata.{key}" not in single
    ]


def _at(stands: Mapping[str, Any], path: str) -> Any:
    value: Any = stands
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value


def _text(value: Any, kind: FieldKind) -> str:
    if value is None:
        return ""
    if kind is FieldKind.TICK:
        return "yes" if value else ""
    if kind in {FieldKind.LIST, FieldKind.NUMBERS}:
        return ", ".join(map(str, value))
    if kind is FieldKind.DURATION:
        return duration_in_words(value)
    if kind is FieldKind.JSON:
        return msgspec.json.encode(value).decode()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d") if kind is FieldKind.DATE else value.isoformat()
    if kind is FieldKind.DATE:
        return str(value)[:10]
    if isinstance(value, float):
        return plain(Decimal(str(value)))
    if isinstance(value, Decimal):
        return plain(value)
    return str(value.value if isinstance(value, Enum) else value)
