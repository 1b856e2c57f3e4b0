"""When a delivery is tried again.

Rule: docs/rules/webhooks.md#retries
"""

from __future__ import annotations

from datetime import datetime, timedelta

RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
LARGEST_JITTER = 0.1
"""The share of its delay by which a retry may be later, so that what failed together is not repeated together."""
FAILING_LIMIT = timedelta(days=5)
"""An endpoint whose every attempt failed for so long is disabled."""


def next_attempt(failures: int, failed_at: datetime, jitter: float) -> datetime | None:
    """When to try again after the attempt number `failures` failed at `failed_at`; None after the last.

    `jitter` is a number from 0 to 1, of which 1 is the largest jitter.
    """
    if failures > len(RETRY_DELAYS):
        return None
    delay = RETRY_DELAYS[failures - 1]
    return failed_at + delay * (1 + LARGEST_JITTER * jitter)
