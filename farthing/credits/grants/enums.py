"""The words of applications of credit grants."""

from __future__ import annotations

from enum import StrEnum

from farthing.core.states import StateMachine


class ApplicationStatus(StrEnum):
    """PENDING and FAILED applications are open: they are attended to again."""

    PENDING = "pending"
    APPLIED = "applied"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


APPLICATION = StateMachine(
    "application of a credit grant",
    {
        ApplicationStatus.PENDING: (
            ApplicationStatus.APPLIED,
            ApplicationStatus.FAILED,
            ApplicationStatus.SKIPPED,
            ApplicationStatus.CANCELLED,
        ),
        # it is tried again, and may fail again
        ApplicationStatus.FAILED: (
            ApplicationStatus.APPLIED,
            ApplicationStatus.FAILED,
            ApplicationStatus.SKIPPED,
            ApplicationStatus.CANCELLED,
        ),
    },
)

OPEN = (ApplicationStatus.PENDING, ApplicationStatus.FAILED)


class ApplicationReason(StrEnum):
    FIRST_TIME_RECURRING = "first_time_recurring_credit_grant"
    RECURRING = "recurring_credit_grant"
    ONETIME = "onetime_credit_grant"
