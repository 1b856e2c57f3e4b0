"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession


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
    """Who hears of what billing finds out."""

    record_exhausted_grant: RecordExhaustedGrant
