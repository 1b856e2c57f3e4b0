"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription

AddCreditGrants = Callable[[AsyncSession, Subscription, CreateSubscriptionRequest, datetime], Awaitable[None]]
"""Gives a new subscription the credit grants that its creation names, before its opening is billed."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    """What a new subscription is given."""

    add_credit_grants: AddCreditGrants
