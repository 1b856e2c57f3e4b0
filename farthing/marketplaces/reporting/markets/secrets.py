"""The secrets of a connection to a marketplace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import ValidationFailed

WHERE = "encrypted_secret_data"


def required(secrets: Mapping[str, Any], name: str) -> str:
    """A secret that must be there, as text. Raises ValidationFailed, naming it."""
    value = secrets.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValidationFailed.of(f"{WHERE}.{name}", "is required")
    if not value.strip().isprintable() or not value.isascii():
        raise ValidationFailed.of(f"{WHERE}.{name}", "must be one line of plain characters")
    return value.strip()
