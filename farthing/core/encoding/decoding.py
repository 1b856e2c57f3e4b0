"""Reading JSON and values into structs, and what is wrong with those that cannot be read, said by field.

Rule: docs/rules/conventions.md#errors
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from farthing.core.encoding.shapes import BodyShape, below, members_of, shape_of
from farthing.core.encoding.times import decode_special
from farthing.core.encoding.wire import BadField
from farthing.core.errors import ValidationFailed

Value = TypeVar("Value")

UNREADABLE = (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MOST_PROBLEMS = 100
"""How many wrong fields of one body are named."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL, but not an escaped backslash before the text u0000."""
_PATH = re.compile(r" - at `(?:key in )?\$(?P<path>.*?)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_EXPECTED = re.compile(r"^Expected `(?P<types>[^`]+)`(?P<limit>[^,]*)(?:, got `(?P<given>[^`]+)`)?$")
_NOT_BLANK = r" matching regex '\\S'"
_ARTICLES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "decimal": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
    "datetime": "a time",
    "MomentText": "a time",
}
"""Types as JSON calls them."""


def json_decoder(kind: Any, float_hook: Callable[[str], Any] | None = None) -> msgspec.json.Decoder[Any]:
    """A decoder of JSON into `kind`, which may hold times."""
    return msgspec.json.Decoder(kind, dec_hook=decode_special, float_hook=float_hook)


def convert(value: Any, kind: type[Value], *, strict: bool = True) -> Value:
    """`value` as a `kind`, which may hold times. Raises ValidationFailed, naming every field that is wrong."""
    try:
        return msgspec.convert(value, kind, strict=strict, dec_hook=decode_special)
    except msgspec.ValidationError as error:
        raise what_is_wrong(error, value, kind, strict=strict) from error


def holds_nul(json: bytes) -> bool:
    """Whether a string in JSON holds a NUL, which no text in the database can."""
    return b"\\u0000" in json and _NUL.search(json) is not None


def unreadable(error: Exception, body: bytes, kind: Any) -> ValidationFailed:
    """The answer to a body that could not be decoded as a `kind`: names every field, and says what would be right."""
    if isinstance(error, msgspec.ValidationError):
        try:
            value = _UNTYPED.decode(body)
        except (*UNREADABLE, ValueError, ArithmeticError):  # the decoder did not read to the end, or skipped a number
            return from_decoding(error)
        return what_is_wrong(error, value, kind)
    return from_decoding(error)


_UNTYPED: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


def what_is_wrong(error: Exception, value: Any, kind: Any, *, strict: bool = True) -> ValidationFailed:
    """The answer for a `value` that could not be read as a `kind`; `error` is what the decoder said first."""
    try:
        problems = _problems(value, shape_of(kind), "", strict)
    except RecursionError:
        problems = {}
    return ValidationFailed.listing(problems) if problems else from_decoding(error)


def from_decoding(error: Exception) -> ValidationFailed:
    """The answer for what the decoder said, when there is no more to learn from the body itself."""
    if not isinstance(error, msgspec.ValidationError):
        return ValidationFailed.of("body", "is not valid JSON")
    return ValidationFailed.listing(_said(error, "", BodyShape(Any)))


def _problems(value: Any, shape: BodyShape, path: str, strict: bool) -> dict[str, Any]:
    """What is wrong with `value`, by path; parts are looked at one by one, the whole only when they are right."""
    problems: dict[str, Any] = {}
    if isinstance(value, dict) and (struct := shape.struct_of(value)) is not None:
        for name, member in members_of(struct).items():
            if name in value:
                problems |= _problems(value[name], member.shape, below(path, name), strict)
            elif member.is_required:
                problems[below(path, name)] = "is required"
    elif isinstance(value, dict) and shape.entry is not None and not shape.structs:
        for key, part in value.items():
            problems |= _problems(part, shape.entry, below(path, key), strict)
            if len(problems) >= MOST_PROBLEMS:
                break
    elif isinstance(value, list) and shape.item is not None:
        for index, part in enumerate(value):
            problems |= _problems(part, shape.item, f"{path}[{index}]", strict)
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        return problems
    try:
        msgspec.convert(value, shape.annotation, strict=strict, dec_hook=decode_special)
    except msgspec.ValidationError as error:
        return _said(error, path, shape)
    return {}


def _said(error: msgspec.ValidationError, path: str, shape: BodyShape) -> dict[str, Any]:
    """What the decoder says of the value at `path`, by field and in the words of JSON."""
    match = _PATH.search(str(error))
    where = path + (match["path"].replace("[...]", "") if match else "")
    where = where.lstrip(".")
    reason = _PATH.sub("", str(error))
    cause = error.__cause__
    if isinstance(cause, BadField):
        return {below(where, field): reason for field, reason in cause.problems.items()}
    if isinstance(cause, ValidationFailed):
        return {below(where, field): reason for field, reason in cause.details.items()}
    if missing := _MISSING.match(reason):
        return {below(where, missing["field"]): "is required"}
    return {where or "body": _in_words(reason, shape)}


def _in_words(reason: str, shape: BodyShape) -> str:
    if reason.startswith("Invalid enum value") and shape.choices:
        return f"must be one of {', '.join(shape.choices)}; not {reason.removeprefix('Invalid enum value ')}"
    match = _EXPECTED.match(reason)
    if match is None:
        return reason[:1].lower() + reason[1:]
    if match["limit"] == _NOT_BLANK:
        return "must not be blank"
    wanted = " or ".join(_ARTICLES.get(kind, kind) for kind in match["types"].split(" | "))
    if shape.choices and match["given"]:
        wanted = f"one of {', '.join(shape.choices)}"
    given = f", not {_ARTICLES.get(match['given'], match['given'])}" if match["given"] else ""
    return f"must be {wanted}{match['limit']}{given}"
