"""When a mail is tried again.

Rule: docs/rules/email.md#delivery
"""

from __future__ import annotations

from datetime import datetime, timedelta

RETRY_DELAYS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)


def next_attempt(failures: int, failed_at: datetime) -> datetime | None:
    """When to try again after the attempt number `failures` failed at `failed_at`; None after the last."""
    return failed_at + RETRY_DELAYS[failures - 1] if failures <= len(RETRY_DELAYS) else None
