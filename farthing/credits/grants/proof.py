"""Proof of what was granted: each application beside its lot, and each grant's applications beside its rhythm."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.credit_grants import CreditGrantExpiryType, DurationUnit
from farthing.core.clock import instant
from farthing.credits.rules.grants import GrantExpiry
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
_PRORATED = """
    SELECT application.id, 'share of the credits',
           trim_scale(application.credits)::text, trim_scale(share.credits)::text
    FROM credit_grant_applications AS application
    JOIN credit_grants AS grants ON grants.id = application.credit_grant_id
    CROSS JOIN LATERAL (SELECT round(
        grants.credits * extract(epoch FROM application.period_end - application.period_start) / extract(epoch FROM
            application.period_end - CAST(application.metadata ->> 'proration_period_start' AS timestamptz)), 8
    ) AS credits) AS share
    WHERE application.metadata ? 'proration_applied' AND application.credits <> share.credits
"""
_EXPIRIES = text("""
    SELECT application.id, application.period_start, grants.expiration_type, grants.expiration_duration,
           grants.expiration_duration_unit, subscription.timezone, lot.expiry_date
    FROM credit_grant_applications AS application
    JOIN credit_grants AS grants ON grants.id = application.credit_grant_id
    JOIN subscriptions AS subscription ON subscription.id = application.subscription_id
    JOIN wallet_transactions AS lot ON lot.id = application.transaction_id
    WHERE grants.expiration_type <> 'BILLING_CYCLE'
""")
_STATEMENTS = tuple(text(statement) for statement in (_LOTS, _WITHOUT_APPLICATION, _GRANTS, _CREDITS, _PRORATED))


async def grant_differences(session: AsyncSession) -> list[Difference]:
    """Where applications differ from their lots, grants or neighbours. Read-only.

    Rule: docs/rules/credits.md#applications
    """
    found = [
        Difference(row_id, figure, stored or "", derived or "")
        for statement in _STATEMENTS
        for row_id, figure, stored, derived in await session.execute(statement)
    ]
    return [*found, *await _expiry_differences(session)]


async def _expiry_differences(session: AsyncSession) -> list[Difference]:
    """Lots that expire otherwise than so long after the start of their period; where the billing period decided, its
    end may have moved since.

    Rule: docs/rules/credits.md#expiry-of-granted-credits
    """
    found = []
    for row_id, start, kind, duration, unit, zone, stored in await session.execute(_EXPIRIES):
        expiry = GrantExpiry(CreditGrantExpiryType(kind), duration, None if unit is None else DurationUnit(unit))
        derived = expiry.of_lot(start, start, ZoneInfo(zone))
        if stored != derived:
            found.append(Difference(row_id, "expiry", _shown(stored), _shown(derived)))
    return found


def _shown(moment: datetime | None) -> str:
    return "never" if moment is None else instant(moment)
