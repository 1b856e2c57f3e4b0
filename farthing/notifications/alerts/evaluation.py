"""Looking at customers with new usage: their spend, then their wallets, five and a half minutes after the first event.

Appends leave notices of whose events they stored (`events.upkeep.notices`). A notice makes a row with the time of the
look; what comes until then changes nothing. The rows outlive every process, and a test clock stops at their times.
Rule: docs/rules/alerts.md#when-usage-is-looked-at
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.wallets.evaluation import evaluate_customer
from farthing.events.upkeep.notices import take_notices
from farthing.notifications.alert_tables import UsageEvaluation
from farthing.notifications.alerts.spend import evaluate_spend
from farthing.storage.postgres import scope_of

log = structlog.get_logger(__name__)

DELAY = timedelta(minutes=5, seconds=30)
"""From the first event to the look."""
LATE = timedelta(hours=1)
"""After so long past its time a look waits, once, for those that are less late."""

# who pays for new usage: for that of a child, the parent's payer too. Those without a wallet and without thresholds
# are looked at by nobody.
_SCHEDULE = text(
    """
    INSERT INTO usage_evaluations (tenant_id, environment_id, customer_id, due_at, requeued)
    SELECT :tenant, :environment, payer.id, min(payer.arrived_at) + :delay, false
    FROM (
        SELECT own.payer_id AS id, usage.arrived_at, own.id AS subscription_id
        FROM unnest(CAST(:external_ids AS text[]), CAST(:arrivals AS timestamptz[])) AS usage (external_id, arrived_at)
        JOIN customers AS customer ON customer.environment_id = :environment
            AND customer.external_id = usage.external_id AND customer.status = 'published'
        JOIN subscriptions AS child ON child.environment_id = :environment
            AND child.customer_id = customer.id AND child.status = 'published'
        JOIN subscriptions AS own ON own.environment_id = :environment
            AND own.id IN (child.id, child.parent_subscription_id)
            AND own.status = 'published' AND own.subscription_status = 'active'
    ) AS payer
    WHERE EXISTS (
        SELECT FROM wallets WHERE wallets.environment_id = :environment AND wallets.customer_id = payer.id
            AND wallets.wallet_status = 'active'
    ) OR EXISTS (
        SELECT FROM alert_settings AS setting WHERE setting.environment_id = :environment
            AND setting.subscription_id = payer.subscription_id AND setting.status = 'published' AND setting.enabled
    )
    GROUP BY payer.id ORDER BY payer.id
    ON CONFLICT (environment_id, customer_id)
        DO UPDATE SET due_at = least(usage_evaluations.due_at, EXCLUDED.due_at)
    """
)
_PLAN = text(
    """
    INSERT INTO usage_evaluations (tenant_id, environment_id, customer_id, due_at, requeued)
    VALUES (:tenant, :environment, :customer, :due_at, false)
    ON CONFLICT (environment_id, customer_id)
        DO UPDATE SET due_at = least(usage_evaluations.due_at, EXCLUDED.due_at)
    """
)


async def schedule(session: AsyncSession, now: datetime) -> int:
    """Plan a look at those who pay for new usage; how many customers have some, 0 when no notice is left."""
    first = await take_notices(session)
    if first:
        scope = scope_of(session)
        given = {"tenant": scope.tenant_id, "environment": scope.environment_id, "delay": DELAY}
        await session.execute(_SCHEDULE, given | {"external_ids": list(first), "arrivals": list(first.values())})
    return len(first)


async def plan_look(session: AsyncSession, customer_id: str, due_at: datetime) -> None:
    """Have a customer looked at no later than that."""
    scope = scope_of(session)
    given = {"tenant": scope.tenant_id, "environment": scope.environment_id}
    await session.execute(_PLAN, given | {"customer": customer_id, "due_at": due_at})


async def find_next(session: AsyncSession, after: datetime) -> datetime | None:
    """The first time after `after` at which somebody is looked at."""
    times = select(func.min(UsageEvaluation.due_at)).where(UsageEvaluation.due_at > after)
    return await session.scalar(times)


async def evaluate_due(session: AsyncSession, now: datetime) -> int:
    """Look at one customer whose time has come, the longest overdue first; 0 when there is none.

    A customer is one transaction, so that its wallets are locked for no longer than its own look takes. One that
    fails is tried again later, and holds up nobody.
    """
    due = select(UsageEvaluation).where(UsageEvaluation.due_at <= now).order_by(UsageEvaluation.due_at)
    row = (await session.scalars(due.limit(1).with_for_update(skip_locked=True))).one_or_none()
    if row is None:
        return 0
    if row.due_at < now - LATE and not row.requeued:
        row.due_at, row.requeued = now, True
        return 1
    customer_id = row.customer_id
    try:
        async with session.begin_nested():
            await evaluate_spend(session, customer_id, now)
            await evaluate_customer(session, customer_id, now)
    except Exception:  # one customer's trouble must not stop the others
        row.due_at = now + DELAY
        log.exception("alerts.evaluation_failed", customer_id=customer_id)
    else:
        await session.execute(delete(UsageEvaluation).where(UsageEvaluation.customer_id == customer_id))
    return 1
