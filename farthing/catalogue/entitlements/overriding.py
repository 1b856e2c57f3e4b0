"""A subscription's own version of an entitlement of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType

from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.grants import NAMES
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.products.enums import FeatureType
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id


def overriding(
    parent: Entitlement,
    subscription_id: str,
    start: datetime,
    *,
    usage_limit: int | UnsetType | None = UNSET,
    is_enabled: bool | None = None,
    static_value: str | None = None,
    config_value: Mapping[str, Any] | None = None,
) -> Entitlement:
    """A row, not yet in any session, that stands in for `parent` on a subscription from `start` on, without end.

    What is not given is the parent's, grant included; `usage_limit` None is unlimited, UNSET the parent's. Raises
    ValidationFailed for an addon's entitlement, or for a field that the feature's type does not have.
    Rule: docs/rules/entitlements.md#overrides
    """
    if parent.entity_type is not EntitlementOwner.PLAN:
        raise ValidationFailed.of("entitlement_id", "must be an entitlement of the subscription's plan")
    kind = parent.feature_type
    if usage_limit is not UNSET and kind is not FeatureType.METERED:
        raise ValidationFailed.of("usage_limit", f"is only for metered features, not for a {kind.value} one")
    if static_value is not None and kind is not FeatureType.STATIC:
        raise ValidationFailed.of("static_value", f"is only for static features, not for a {kind.value} one")
    if config_value is not None and kind is not FeatureType.CONFIG:
        raise ValidationFailed.of("config_value", f"is only for config features, not for a {kind.value} one")
    grant = {f"grant_{name}": getattr(parent, f"grant_{name}") for name in NAMES}
    return Entitlement(
        id=new_id(Kind.ENTITLEMENT),
        entity_type=EntitlementOwner.SUBSCRIPTION,
        entity_id=subscription_id,
        feature_id=parent.feature_id,
        feature_type=kind,
        is_enabled=parent.is_enabled if is_enabled is None else is_enabled,
        usage_limit=parent.usage_limit if usage_limit is UNSET else usage_limit,
        usage_reset_period=parent.usage_reset_period,
        is_soft_limit=parent.is_soft_limit,
        static_value=parent.static_value if static_value is None else static_value,
        config_value=parent.config_value if config_value is None else dict(config_value),
        parent_entitlement_id=parent.id,
        start_date=start,
        display_order=parent.display_order,
        aggregation_mode=parent.aggregation_mode,
        **grant,
    )
