"""The rate limit of an endpoint: attempts are spread evenly, whoever makes them.

An endpoint's row holds when the next attempt is free; a process that was late may catch up a tenth of a second.
Rule: docs/rules/webhooks.md#rate-limit
"""

from __future__ import annotations

from datetime import datetime, timedelta

CATCH_UP = timedelta(seconds=0.1)


def allowed_now(next_free_at: datetime | None, per_second: int, now: datetime) -> int:
    """How many attempts may begin at `now`."""
    if next_free_at is not None and next_free_at > now:
        return 0
    return 1 + (now - _begin(next_free_at, now)) * per_second // timedelta(seconds=1)


def next_free(next_free_at: datetime | None, per_second: int, begun: int, now: datetime) -> datetime:
    """When the next attempt is free after `begun` of them began at `now`."""
    return _begin(next_free_at, now) + begun * timedelta(seconds=1) / per_second


def _begin(next_free_at: datetime | None, now: datetime) -> datetime:
    earliest = now - CATCH_UP
    return earliest if next_free_at is None else max(next_free_at, earliest)
