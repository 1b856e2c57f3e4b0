"""The words of applications of credit grants."""

from __future__ import annotations

from enum import StrEnum


class ApplicationStatus(StrEnum):
    """PENDING and FAILED applications are open: they are attended to again."""

    PENDING = "pending"
    APPLIED = "applied"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


OPEN = (ApplicationStatus.PENDING, ApplicationStatus.FAILED)


class ApplicationReason(StrEnum):
    FIRST_TIME_RECURRING = "first_time_recurring_credit_grant"
    RECURRING = "recurring_credit_grant"
    ONETIME = "onetime_credit_grant"
