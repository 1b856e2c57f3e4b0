"""A part of what one usage query counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """More of whose usage and when: customers' external ids, `[start, end)`."""

    customers: frozenset[str]
    start: datetime
    end: datetime
