"""Requests of entitlements, with the names and fields of the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta

from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.fields import Id, Ids, OptionalId, Text, quoted
from farthing.catalogue.products.enums import FeatureType
from farthing.core.encoding.wire import BadField, Moment, Request
from farthing.storage.queries.listing import ListQuery

MOST_IN_BULK = 100
LONGEST_WINDOW = 10_000

Limit = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Duration = Annotated[int, Meta(ge=1, le=LONGEST_WINDOW)]


class _EntitlementFields(Request, kw_only=True):
    """What may be given at creation and at update alike."""

    is_enabled: bool | None = None
    usage_limit: Limit | None = None
    usage_reset_period: UsageResetPeriod | None = None
    is_soft_limit: bool | None = None
    static_value: Text | None = None
    config_value: dict[str, Any] | None = None
    aggregation_mode: AggregationMode | None = None
    grant_measure: GrantMeasure | None = None
    grant_quota: Decimal | None = None
    grant_duration_unit: GrantDurationUnit | None = None
    grant_duration_value: Duration | None = None
    grant_allocation_behavior: GrantAllocation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grant_quota is not None:
            quoted("grant_quota", self.grant_quota, positive=True)
        if any(not key.strip() for key in self.config_value or ()):
            raise BadField("config_value", "must not have blank keys")


class CreateEntitlementRequest(_EntitlementFields, kw_only=True):
    """A new entitlement. Its owner is named by type and id, or, a plan, by `plan_id`, or by both if they agree.

    `usage_limit` absent or null is unlimited; 0 is none.
    """

    feature_id: Id
    feature_type: FeatureType
    entity_type: EntitlementOwner | None = None
    entity_id: OptionalId | None = None
    plan_id: OptionalId | None = None
    parent_entitlement_id: OptionalId | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plan_id:
            if self.entity_type not in {None, EntitlementOwner.PLAN}:
                raise BadField("entity_type", "must be PLAN when plan_id is given")
            if self.entity_id and self.entity_id != self.plan_id:
                raise BadField("entity_id", "must be plan_id when both are given")
            self.entity_type, self.entity_id = EntitlementOwner.PLAN, self.plan_id
        if self.entity_type is None:
            raise BadField("entity_type", "is required, with entity_id, unless plan_id is given")
        if not self.entity_id:
            raise BadField("entity_id", "is required")
        if self.feature_type is FeatureType.STATIC and not self.static_value:
            raise BadField("static_value", "is required for a static feature")
        if self.feature_type is not FeatureType.CONFIG and self.config_value is not None:
            raise BadField("config_value", "is only for config features")
        if self.parent_entitlement_id and self.entity_type is not EntitlementOwner.SUBSCRIPTION:
            raise BadField("parent_entitlement_id", "is only for entitlements of a subscription")
        if self.start_date and self.end_date and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")

    @property
    def owner(self) -> tuple[EntitlementOwner, str]:
        assert self.entity_type is not None, "checked above"
        return self.entity_type, self.entity_id or ""


class CreateBulkEntitlementRequest(Request):
    """Entitlements to create, all of them or none."""

    items: Annotated[list[CreateEntitlementRequest], Meta(min_length=1, max_length=MOST_IN_BULK)]


class UpdateEntitlementRequest(_EntitlementFields):
    """What to change; absent, null and, for texts, "" stay. `usage_limit` 0 means unlimited, as clients expect."""

    clear_grant_config: bool | None = None
    """Removes the grant before the grant fields given here are applied."""


class EntitlementQuery(ListQuery):
    """The filter of the list of entitlements; an empty list is no condition."""

    entity_type: EntitlementOwner | None = None
    entity_ids: Ids | None = None
    plan_ids: Ids | None = None
    feature_ids: Ids | None = None
    feature_type: FeatureType | None = None
    is_enabled: bool | None = None
    has_grant_config: bool | None = None


class EntitlementFilter(EntitlementQuery):
    """Body of a search for entitlements."""
