"""What storage needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class CompanionStatement:
    """A statement that writes and is sent as a part of another, for one round trip and one snapshot of both."""

    sql: str
    parameters: Mapping[str, Any]
    """None is called `records`, which is the other's."""


@dataclass(frozen=True, slots=True)
class OutboxPorts:
    """What is done above in the transaction that records events."""

    write_beside: Callable[[Session, Sequence[Mapping[str, Any]]], CompanionStatement | None]
    """Given the session and the events that it is about to write, as rows: what must stand or fall with them."""
