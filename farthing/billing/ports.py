"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition

if TYPE_CHECKING:  # only to name what a port takes and answers
    from farthing.billing.plan_change_schemas import SubscriptionChangeV2Request, SubscriptionChangeV2Response
    from farthing.billing.schemas import (
        AddAddonRequest,
        AddAddonToSubscriptionResponse,
        ExecuteSubscriptionModifyRequest,
        SubscriptionModifyResponse,
    )
    from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
    from farthing.subscriptions.schemas.responses import SubscriptionResponse

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
class SubscriptionCheckouts:
    """What is done to subscriptions once a checkout is paid. Each has opened its checkout, and committed it, when it
    answers; what costs nothing is done at once, without one."""

    create: Callable[[AsyncSession, Composition, CreateSubscriptionRequest, Clock], Awaitable[SubscriptionResponse]]
    add_addon: Callable[[AsyncSession, Composition, AddAddonRequest, Clock], Awaitable[AddAddonToSubscriptionResponse]]
    modify: Callable[
        [AsyncSession, Composition, str, ExecuteSubscriptionModifyRequest, Clock],
        Awaitable[SubscriptionModifyResponse],
    ]
    change_plan: Callable[
        [AsyncSession, Composition, str, SubscriptionChangeV2Request, Clock], Awaitable[SubscriptionChangeV2Response]
    ]


@dataclass(frozen=True, slots=True)
class CheckoutExpiry:
    """Ends checkouts that nobody has paid in time, for which a test clock has to stop."""

    expire_due: Batch
    """End those whose time is over, each in a transaction of its own."""
    find_next: Callable[[AsyncSession, datetime], Awaitable[datetime | None]]
    """The first time after this one at which one ends."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    """Who follows what usage costs while it comes in, who hears of what billing finds out, and what is paid first."""

    usage_evaluations: UsageEvaluations
    record_exhausted_grant: RecordExhaustedGrant
    checkouts: SubscriptionCheckouts
    checkout_expiry: CheckoutExpiry
