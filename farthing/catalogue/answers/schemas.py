"""Responses of plans, addons, prices and entitlements, with the names and fields of the wire.

A plan carries its prices and entitlements, and each of these names its plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from farthing.api.queries.lists import Page
from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices.enums import BillingCadence, PriceUnitType
from farthing.catalogue.prices.schemas import PriceTier, PriceUnitResponse, TransformQuantity
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.schemas import FeatureResponse, GroupResponse, MeterResponse
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.core.enums import PriceType, Status
from farthing.rating.pricing.price import BillingModel, TierMode


class PriceResponse(Response):
    """A price."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    amount: DecimalText
    display_amount: str
    currency: str
    price_unit_type: PriceUnitType
    type: PriceType
    billing_period: BillingPeriod
    billing_period_count: int
    billing_model: BillingModel
    billing_cadence: BillingCadence
    invoice_cadence: InvoiceCadence
    display_name: str
    trial_period_days: int
    meter_id: str
    lookup_key: str
    description: str
    transform_quantity: TransformQuantity
    metadata: dict[str, str]
    entity_type: PriceEntityType
    entity_id: str
    start_date: Timestamp
    sequence: int
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    price_unit_id: str | None = None
    price_unit: str | None = None
    price_unit_amount: DecimalText | None = None
    display_price_unit_amount: str | None = None
    conversion_rate: DecimalText | None = None
    min_quantity: DecimalText | None = None
    tier_mode: TierMode | None = None
    tiers: list[PriceTier] | None = None
    price_unit_tiers: list[PriceTier] | None = None
    parent_price_id: str | None = None
    group_id: str | None = None
    end_date: Timestamp | None = None
    meter: MeterResponse | None = None
    group: GroupResponse | None = None
    pricing_unit: PriceUnitResponse | None = None
    plan: PlanResponse | None = None
    addon: AddonResponse | None = None


class EntitlementResponse(Response):
    """An entitlement. `usage_limit` is null when unlimited."""

    id: str
    entity_type: EntitlementOwner
    entity_id: str
    feature_id: str
    feature_type: FeatureType
    is_enabled: bool
    usage_limit: int | None
    is_soft_limit: bool
    static_value: str
    display_order: int
    aggregation_mode: AggregationMode
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    usage_reset_period: UsageResetPeriod | None = None
    """Absent: the billing period."""
    config_value: dict[str, Any] | None = None
    parent_entitlement_id: str | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    grant_measure: GrantMeasure | None = None
    grant_quota: DecimalText | None = None
    grant_duration_unit: GrantDurationUnit | None = None
    grant_duration_value: int | None = None
    grant_allocation_behavior: GrantAllocation | None = None
    plan_id: str | None = None
    feature: FeatureResponse | None = None
    plan: PlanResponse | None = None
    addon: AddonResponse | None = None


class PlanResponse(Response):
    """A plan, with what belongs to it if asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    display_order: int | None = None
    prices: list[PriceResponse] | None = None
    entitlements: list[EntitlementResponse] | None = None
    credit_grants: list[IncludedCreditGrant] | None = None


class AddonResponse(Response):
    """An addon, with what belongs to it if asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    metadata: dict[str, Any]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    prices: list[PriceResponse] | None = None
    entitlements: list[EntitlementResponse] | None = None
    credit_grants: list[IncludedCreditGrant] | None = None


class CreateBulkPriceResponse(Response):
    """Prices made together."""

    items: list[PriceResponse]


class ListPricesResponse(Page[PriceResponse]):
    """A page of prices."""

    items: list[PriceResponse]


class CreateBulkEntitlementResponse(Response):
    """The entitlements created, in the order asked for."""

    items: list[EntitlementResponse]


class ListEntitlementsResponse(Page[EntitlementResponse]):
    """A page of entitlements."""

    items: list[EntitlementResponse]


class ListPlansResponse(Page[PlanResponse]):
    """A page of plans."""

    items: list[PlanResponse]


class ListAddonsResponse(Page[AddonResponse]):
    """A page of addons."""

    items: list[AddonResponse]
