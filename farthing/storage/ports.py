"""What storage needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class OutboxPorts:
    """What is done above in the transaction that records events."""

    on_recorded: Callable[[Session, Sequence[Mapping[str, Any]]], None]
    """Given the session and the events that it has just written, as rows: write what must stand or fall with them."""
