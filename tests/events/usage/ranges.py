"""Times that queries of events are asked for."""

from __future__ import annotations

from typing import Any

from tests.events.counter import at

JANUARY = ("2024-01-01T00:00", "2024-02-01T00:00")
RANGE: dict[str, Any] = {"start_time": at(JANUARY[0]), "end_time": at(JANUARY[1])}
