"""What billing needs from the packages above it; `farthing.wiring` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.credit_sink import Refund

IssueCredit = Callable[[AsyncSession, Refund], Awaitable[str | None]]
"""Gives a payer what is owed, in the transaction of the change; the wallet transaction's id, if one was made."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    """How credits leave billing."""

    issue_credit: IssueCredit
