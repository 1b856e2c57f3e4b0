"""Parameters of the statements that store events, as PostgreSQL reads them from text.

The driver makes an array element by element; of the ten columns of a batch that costs more than to send it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any


def as_text(value: Any) -> str | None:
    """A single value."""
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def text_array(values: Iterable[str | None]) -> str:
    """An array of texts."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def array(values: Iterable[Any]) -> str:
    """An array of numbers or of times."""
    return "{" + ",".join([as_text(value) or "NULL" for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
