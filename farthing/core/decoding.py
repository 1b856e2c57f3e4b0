"""What is wrong with a body or a query that could not be decoded, said by field."""

from __future__ import annotations

import re

import msgspec

from farthing.core import errors
from farthing.core.wire import BadField

_PATH = re.compile(r" - at `\$(?P<path>.*?)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_SIZE_OR_RANGE = (" of length ", " >= ", " <= ", " > ", " < ", "matching regex", "Invalid enum value", "timezone")


def from_decoding(error: Exception) -> errors.ValidationFailed:
    """A body that could not be decoded: names the field, and says what would be right."""
    found = _PATH.search(str(error))
    path = (found["path"] if found else "").lstrip(".").replace("[...]", "")
    reason = _PATH.sub("", str(error))
    cause = error.__cause__
    if isinstance(cause, BadField):
        field = f"{path}.{cause.field}".lstrip(".")
        return errors.ValidationFailed.of(field, cause.reason)
    if isinstance(cause, errors.ValidationFailed):
        return cause
    if missing := _MISSING.match(reason):
        return errors.ValidationFailed.of(f"{path}.{missing['field']}".lstrip("."), "is required")
    if not isinstance(error, msgspec.ValidationError):
        return errors.ValidationFailed("Invalid request format", {"body": "is not valid JSON"})
    reason = reason[:1].lower() + reason[1:]
    message = "Request validation failed" if any(w in reason for w in _SIZE_OR_RANGE) else "Invalid request format"
    return errors.ValidationFailed(message, {path or "body": reason})
