"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

Batch = Callable[[AsyncSession, datetime], Awaitable[int]]
"""Does one batch of some work at a time; how much it did, 0 when none is left."""


@dataclass(frozen=True, slots=True)
class UsageEvaluations:
    """Looks at customers with new usage, a while after the first of it, which a test clock has to stop for."""

    schedule: Batch
    """Remember who has new usage, and when each is looked at."""
    evaluate_due: Batch
    """Look at those whose time has come."""
    find_next: Callable[[AsyncSession, datetime], Awaitable[datetime | None]]
    """The first time after this one at which somebody is looked at."""


@dataclass(frozen=True, slots=True)
class ExhaustedGrant:
    """A usage window whose quota was found used up: `usage` of `quota`, in units or in money, as of `at`."""

    id: str
    entitlement_id: str
    subscription_id: str
    customer_id: str
    quota: Decimal
    usage: Decimal
    at: datetime


RecordExhaustedGrant = Callable[[AsyncSession, ExhaustedGrant], Awaitable[None]]
"""Alerts that a quota is used up, in the transaction that has found it; called once for each window."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    """Who follows what usage costs while it comes in, and who hears of what billing finds out."""

    usage_evaluations: UsageEvaluations
    record_exhausted_grant: RecordExhaustedGrant
