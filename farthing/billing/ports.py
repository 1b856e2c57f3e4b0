"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.credit_sink import Refund
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription

IssueCredit = Callable[[AsyncSession, Refund], Awaitable[str | None]]
"""Gives a payer what is owed, in the transaction of the change; the wallet transaction's id, if one was made."""

AddCreditGrants = Callable[[AsyncSession, Subscription, CreateSubscriptionRequest, datetime], Awaitable[None]]
"""Gives a new subscription the credit grants that its creation names, before its opening is billed."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    """How credits leave billing, and what a new subscription is given."""

    issue_credit: IssueCredit
    add_credit_grants: AddCreditGrants
