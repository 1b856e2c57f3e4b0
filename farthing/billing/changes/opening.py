"""How a subscription begins, with its opening invoice.

Rule: docs/rules/subscriptions.md#creation
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.apply_outcome import Performed, perform
from farthing.invoices.hooks import InvoiceHooks
from farthing.storage.midway import progress_of
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest


async def open_subscription(
    session: AsyncSession, asked: CreateSubscriptionRequest, now: datetime, effects: InvoiceHooks
) -> tuple[Outcome, Performed]:
    """Make a subscription and bill its opening. Raises as `creation.create` does."""
    outcome = await creation.create(session, asked, now)
    progress = progress_of(session)
    outcome.subscription.request_token = None if progress is None else progress.token
    return outcome, await perform(session, outcome, now, effects)
