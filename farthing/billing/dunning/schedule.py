"""When a failed charge is tried again, and when its schedule ends. Pure.

Rule: docs/rules/dunning.md#schedule
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class DunningStep(StrEnum):
    """What falls due next."""

    RETRY = "retry"
    FINAL_ACTION = "final_action"


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step, and when it falls due."""

    step: DunningStep
    at: datetime


def next_step(
    first_failed_at: datetime, retry_days: Sequence[int], retries_made: int, failed_at: datetime, *, may_retry: bool
) -> NextStep:
    """What follows a charge that failed at `failed_at`, after so many retries, of which `retry_days` names all days.

    Days count from the first failure. A retry that comes late does not move those after it, but none is made in the
    same instant as another. Without a method that may be tried, the schedule is waited out.
    """
    if retries_made >= len(retry_days):
        return NextStep(DunningStep.FINAL_ACTION, failed_at)
    if not may_retry:
        end = first_failed_at + timedelta(days=retry_days[-1])
        return NextStep(DunningStep.FINAL_ACTION, max(end, failed_at))
    planned = first_failed_at + timedelta(days=retry_days[retries_made])
    return NextStep(DunningStep.RETRY, max(planned, failed_at + timedelta(hours=1)))
