"""Proof of what was granted: each application beside its lot, and each grant's applications beside its rhythm."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.figures.derivation import Difference

_LOTS = """
    SELECT application.id, figure.name, figure.stored, figure.derived
    FROM credit_grant_applications AS application
    JOIN credit_grants AS grants ON grants.id = application.credit_grant_id
    JOIN subscriptions AS subscription ON subscription.id = application.subscription_id
    LEFT JOIN wallet_transactions AS lot ON lot.id = application.transaction_id
    CROSS JOIN LATERAL (VALUES
        ('lot', coalesce(lot.transaction_reason || ' ' || coalesce(lot.system_key, ''), 'none'),
         'SUBSCRIPTION_CREDIT_GRANT ' || application.id),
        ('credits', trim_scale(lot.credit_amount)::text, trim_scale(application.credits)::text),
        ('customer', lot.customer_id, subscription.payer_id),
        ('currency', lot.currency, subscription.currency),
        ('priority', coalesce(lot.priority::text, ''), coalesce(grants.priority::text, '')),
        ('valid from', lot.valid_from::text, application.period_start::text)
    ) AS figure (name, stored, derived)
    WHERE application.application_status = 'applied' AND figure.stored IS DISTINCT FROM figure.derived
"""
_WITHOUT_APPLICATION = """
    SELECT lot.id, 'application of the grant', 'none', lot.system_key
    FROM wallet_transactions AS lot
    WHERE lot.transaction_reason = 'SUBSCRIPTION_CREDIT_GRANT' AND lot.system_key LIKE 'cga\\_%'
        AND NOT EXISTS (SELECT FROM credit_grant_applications WHERE transaction_id = lot.id)
"""
_GRANTS = """
    SELECT application.credit_grant_id, 'period after ' || application.period_start::text,
           following.period_start::text, application.period_end::text
    FROM credit_grant_applications AS application
    JOIN LATERAL (
        SELECT period_start FROM credit_grant_applications AS later
        WHERE later.credit_grant_id = application.credit_grant_id AND later.period_start > application.period_start
        ORDER BY period_start LIMIT 1
    ) AS following ON true
    WHERE following.period_start IS DISTINCT FROM application.period_end
"""
_CREDITS = """
    SELECT application.id, 'credits', trim_scale(application.credits)::text, trim_scale(grants.credits)::text
    FROM credit_grant_applications AS application
    JOIN credit_grants AS grants ON grants.id = application.credit_grant_id
    WHERE application.credits <> grants.credits AND NOT application.metadata ? 'proration_applied'
"""
_STATEMENTS = tuple(text(statement) for statement in (_LOTS, _WITHOUT_APPLICATION, _GRANTS, _CREDITS))


async def grant_differences(session: AsyncSession) -> list[Difference]:
    """Where applications differ from their lots, grants or neighbours. Read-only.

    Rule: docs/rules/credits.md#applications
    """
    return [
        Difference(row_id, figure, stored or "", derived or "")
        for statement in _STATEMENTS
        for row_id, figure, stored, derived in await session.execute(statement)
    ]
