"""The alert, and the webhook, that a usage window's quota is used up.

Rule: docs/rules/entitlements.md#exhaustion
"""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.ports import ExhaustedGrant
from farthing.catalogue.products.alerts import AlertState
from farthing.core.clock import instant
from farthing.core.money import plain, round_to
from farthing.notifications.alert_enums import AlertEntityType, AlertType
from farthing.notifications.alerts.log import AlertEvent, AlertReading, AlertStream, record_transition

RATIO_DIGITS = 8


async def record_exhausted_grant(session: AsyncSession, grant: ExhaustedGrant) -> None:
    """Log that a window is in alarm, and record `entitlement.grant.exhausted`; nothing if that is logged already."""
    stream = AlertStream(
        AlertType.ENTITLEMENT_GRANT_EXHAUSTED,
        AlertEntityType.ENTITLEMENT_GRANT,
        grant.id,
        customer_id=grant.customer_id,
        parent_entity_type=AlertEntityType.SUBSCRIPTION,
        parent_entity_id=grant.subscription_id,
    )
    body = {
        "subscription_id": grant.subscription_id,
        "customer_id": grant.customer_id,
        "entitlement_id": grant.entitlement_id,
        "entitlement_grant_id": grant.id,
        "alert_type": stream.alert_type.value,
        "alert_status": AlertState.IN_ALARM.value,
        "usage_ratio": plain(round_to(Fraction(grant.usage) / Fraction(grant.quota), RATIO_DIGITS)),
        "triggered_at": instant(grant.at),
    }
    event = AlertEvent("entitlement.grant.exhausted", stream.entity_type.value, grant.id, body)
    await record_transition(session, stream, AlertReading(AlertState.IN_ALARM, grant.usage, None, grant.at), event)
