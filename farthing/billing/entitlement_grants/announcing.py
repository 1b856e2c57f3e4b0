"""The webhook that tells that a usage window's quota is used up.

Rule: docs/rules/entitlements.md#exhaustion
"""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.ports import ExhaustedGrant
from farthing.catalogue.products.alerts import AlertState
from farthing.core.clock import instant
from farthing.core.money import plain, round_to
from farthing.storage.outbox import record_event

ALERT_TYPE = "entitlement_grant_exhausted"
RATIO_DIGITS = 8


async def record_exhausted_grant(session: AsyncSession, grant: ExhaustedGrant) -> None:
    """Record `entitlement.grant.exhausted` of a window."""
    payload = {
        "subscription_id": grant.subscription_id,
        "customer_id": grant.customer_id,
        "entitlement_id": grant.entitlement_id,
        "entitlement_grant_id": grant.id,
        "alert_type": ALERT_TYPE,
        "alert_status": AlertState.IN_ALARM.value,
        "usage_ratio": plain(round_to(Fraction(grant.usage) / Fraction(grant.quota), RATIO_DIGITS)),
        "triggered_at": instant(grant.at),
    }
    await record_event(session, "entitlement.grant.exhausted", "entitlement_grant", grant.id, payload)
