"""Subscriptions and their parts as they travel, and what lists of them take; with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from farthing.api.queries.lists import Page
from farthing.calendar.billing import BillingCycle, BillingPeriod, InvoiceCadence
from farthing.calendar.due import PaymentTerms
from farthing.calendar.recurring import UsageReset
from farthing.catalogue.answers.schemas import AddonResponse, PlanResponse, PriceResponse
from farthing.catalogue.discounts.schemas import CouponAssociationResponse
from farthing.catalogue.entitlements.enums import AggregationMode, GrantDurationUnit, GrantMeasure
from farthing.catalogue.fields import Ids, OptionalId
from farthing.catalogue.prices.enums import BillingCadence
from farthing.catalogue.products.schemas import FeatureResponse, MeterResponse
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.checkout import CheckoutSessionResponse
from farthing.core.encoding.wire import DecimalText, Moment, Request, Response, Timestamp
from farthing.core.enums import PriceType, Status
from farthing.customers.schemas import CustomerResponse
from farthing.storage.queries.listing import ListQuery
from farthing.subscriptions.enums import (
    AddonStatus,
    ChangeType,
    CommitmentType,
    LineItemOwner,
    PauseMode,
    PauseStatus,
    ProrationBehavior,
    ResumeMode,
    ScheduleStatus,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
    UsageWindowStatus,
)

_META: Mapping[str, str] = {"metadata": "meta"}

InvoiceAbove = Annotated[
    dict[str, Any],
    Meta(
        description="an invoice, as its own endpoint answers it",
        extra_json_schema={"allOf": [{"$ref": "#/components/schemas/InvoiceResponse"}]},
    ),
]


class _StoredRow(Response, kw_only=True):
    """What every stored row tells."""

    renamed: ClassVar[Mapping[str, str]] = _META

    id: str
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class TimeOfDayResponse(Response):
    """A minute of the UTC day."""

    hour: int
    minute: int


class TimeOfDayBucketResponse(Response):
    """Terms of the windows that start in a stretch of the UTC day."""

    id: str
    start: TimeOfDayResponse
    end: TimeOfDayResponse
    price_id: str
    commitment_type: CommitmentType
    commitment_value: DecimalText
    true_up_enabled: bool
    overage_factor: float | None = None


class LineItemMeterResponse(MeterResponse, kw_only=True):
    """The meter of a line item, with where it is and who made it."""

    environment_id: str
    created_by: str
    updated_by: str


class SubscriptionLineItemResponse(_StoredRow, kw_only=True):
    """One version of a line item. `quantity` is "0" for usage; an open end is null."""

    subscription_id: str
    customer_id: str
    entity_id: str
    entity_type: LineItemOwner
    plan_display_name: str
    price_id: str
    price_type: PriceType
    meter_id: str
    meter_display_name: str
    display_name: str
    quantity: DecimalText
    currency: str
    billing_period: BillingPeriod
    billing_period_count: int
    invoice_cadence: InvoiceCadence
    start_date: Timestamp
    commitment_true_up_enabled: bool
    commitment_windowed: bool
    metadata: dict[str, str]
    end_date: Timestamp | UnsetType | None = UNSET
    price_unit_id: str | UnsetType | None = UNSET
    price_unit: str | UnsetType | None = UNSET
    subscription_phase_id: str | None = None
    addon_association_id: str | None = None
    commitment_amount: DecimalText | None = None
    commitment_quantity: DecimalText | None = None
    commitment_type: CommitmentType | None = None
    commitment_overage_factor: DecimalText | None = None
    commitment_duration: BillingPeriod | None = None
    commitment_time_buckets: list[TimeOfDayBucketResponse] | None = None
    price: PriceResponse | None = None
    meter: LineItemMeterResponse | None = None


class SubscriptionPhaseResponse(_StoredRow, kw_only=True):
    """A stretch of a subscription with line items of its own."""

    subscription_id: str
    start_date: Timestamp
    metadata: dict[str, str]
    end_date: Timestamp | None = None


class SubscriptionPauseResponse(_StoredRow, kw_only=True):
    """A pause, scheduled, present or past."""

    subscription_id: str
    pause_status: PauseStatus
    pause_mode: PauseMode
    pause_start: Timestamp
    original_period_start: Timestamp
    original_period_end: Timestamp
    reason: str
    metadata: dict[str, str]
    resume_mode: ResumeMode | None = None
    pause_end: Timestamp | None = None
    resumed_at: Timestamp | None = None


class EntityPolicies(Response):
    """What a plan change does with what is not of the plan."""

    addons: dict[str, Any] | None = None


class PlanChangeScheduleDetails(Response):
    """The plan change a schedule shall make."""

    target_plan_id: str
    billing_period_behaviour: Literal["unchanged", "anchor_at_effect", "anchor_at_config"] = "unchanged"
    entity_policies: EntityPolicies | None = None


class ConfigurationDetails(Response):
    """What a schedule shall do."""

    plan_change: PlanChangeScheduleDetails | None = None


class PlanChangeScheduleResult(Response):
    """What a scheduled plan change did."""

    change_type: ChangeType | None = None
    effective_date: Timestamp | None = None
    from_plan_id: str | None = None
    to_plan_id: str | None = None
    previous_subscription_id: str | None = None
    subscription_id: str | None = None


class ExecutionDetails(Response):
    """What a schedule did."""

    plan_change: PlanChangeScheduleResult | None = None


class SubscriptionScheduleResponse(Response):
    """Something that shall happen, or has happened, to a subscription."""

    id: str
    subscription_id: str
    schedule_type: ScheduleType
    scheduled_at: Timestamp
    status: ScheduleStatus
    configuration: dict[str, Any]
    days_until_execution: int
    can_be_cancelled: bool
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp
    executed_at: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    execution_result: dict[str, Any] | None = None
    error_message: str | None = None
    configuration_details: ConfigurationDetails | None = None
    execution_details: ExecutionDetails | None = None


class GetPendingSchedulesResponse(Response):
    """Schedules; `count` is how many match, whatever the page."""

    schedules: list[SubscriptionScheduleResponse]
    count: int


class CancelScheduleRequest(Request):
    """Which schedule to cancel: by its id, or the one of a kind that waits for a subscription."""

    schedule_id: OptionalId | None = None
    subscription_id: OptionalId | None = None
    schedule_type: ScheduleType | None = None


class CancelScheduleResponse(Response):
    """A schedule was cancelled."""

    status: ScheduleStatus
    message: str


class EntitlementSource(Response):
    """One entitlement that counts."""

    subscription_id: str
    entity_id: str
    entity_type: Literal["plan", "addon", "subscription"]
    quantity: int
    entity_name: str
    entitlement_id: str
    is_enabled: bool
    usage_limit: int | None = None
    static_value: str | None = None
    usage_reset_period: UsageReset | None = None
    config_value: dict[str, Any] | None = None


class GrantAllowanceState(Response):
    """What a grant leaves now: `usage` of `quota`, in units or in money. Where no usage window is open, a whole quota
    is left."""

    entitlement_id: str
    measure: GrantMeasure
    quota: DecimalText
    usage: DecimalText
    remaining: DecimalText
    unlimited: bool
    is_active: bool
    status: UsageWindowStatus
    grant_id: str | None = None
    valid_from: Timestamp | None = None
    valid_to: Timestamp | None = None
    quota_crossed_at: Timestamp | None = None
    last_computed_at: Timestamp | None = None


class GrantState(Response):
    """What the grants of a feature leave: one allowance where quotas are added up, else one for each."""

    allowances: list[GrantAllowanceState]


class AggregatedEntitlementBucket(Response):
    """One of several quotas that stand side by side."""

    entitlement_id: str
    source_entity_id: str
    usage_limit: int | None = None
    grant_measure: GrantMeasure | None = None
    grant_quota: DecimalText | None = None
    grant_duration_unit: GrantDurationUnit | None = None
    grant_duration_value: int | None = None
    grant_unlimited: bool | None = None


class AggregatedEntitlement(Response):
    """What all entitlements to a feature come to; `usage_limit` null is unlimited."""

    is_enabled: bool
    is_soft_limit: bool
    aggregation_mode: AggregationMode
    usage_limit: int | UnsetType | None = UNSET
    usage_reset_period: UsageReset | None = None
    static_values: list[str] | None = None
    config_values: list[dict[str, Any]] | None = None
    buckets: list[AggregatedEntitlementBucket] | None = None
    grant_measure: GrantMeasure | None = None
    grant_quota: DecimalText | None = None
    grant_duration_unit: GrantDurationUnit | None = None
    grant_duration_value: int | None = None
    grant_unlimited: bool | None = None
    grant_state: GrantState | None = None


class AggregatedFeature(Response):
    """A feature, what holds for it, and from where."""

    feature: FeatureResponse
    entitlement: AggregatedEntitlement
    sources: list[EntitlementSource]


class SubscriptionEntitlementsResponse(Response):
    """What a subscription includes in its open period."""

    subscription_id: str
    plan_id: str
    features: list[AggregatedFeature]


class _SubscriptionFields(_StoredRow, kw_only=True):
    """What both forms of a subscription tell."""

    customer_id: str
    plan_id: str
    subscription_status: SubscriptionStatus
    subscription_type: SubscriptionType
    currency: str
    billing_anchor: Timestamp
    billing_cycle: BillingCycle
    billing_period: BillingPeriod
    billing_period_count: int
    billing_cadence: BillingCadence
    start_date: Timestamp
    current_period_start: Timestamp
    current_period_end: Timestamp
    cancel_at_period_end: bool
    version: int
    metadata: dict[str, str]
    pause_status: PauseStatus
    overage_factor: DecimalText
    enable_true_up: bool
    payment_behavior: str
    collection_method: str
    gateway_payment_method_id: str
    timezone: str
    proration_behavior: ProrationBehavior
    lookup_key: str | None = None
    end_date: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    cancel_at: Timestamp | UnsetType | None = UNSET
    trial_start: Timestamp | UnsetType | None = UNSET
    trial_end: Timestamp | UnsetType | None = UNSET
    active_pause_id: str | None = None
    commitment_amount: DecimalText | None = None
    commitment_duration: BillingPeriod | None = None
    payment_terms: PaymentTerms | None = None
    invoicing_customer_id: str | None = None
    parent_subscription_id: str | None = None
    auto_invoice_threshold: DecimalText | None = None
    synced_price_sequence: int | None = None
    line_items: list[SubscriptionLineItemResponse] | None = None
    pauses: list[SubscriptionPauseResponse] | None = None
    phases: list[SubscriptionPhaseResponse] | None = None
    coupon_associations: list[CouponAssociationResponse] | None = None
    credit_grants: list[IncludedCreditGrant] | None = None
    plan: PlanResponse | None = None
    customer: CustomerResponse | None = None
    entitlements: list[AggregatedFeature] | None = None


class SubscriptionResponse(_SubscriptionFields, kw_only=True):
    """A subscription."""

    latest_invoice: InvoiceAbove | None = None
    """When an operation produced one."""
    checkout_session: CheckoutSessionResponse | None = None
    warnings: list[str] | None = None
    """What the caller may not have meant, when the subscription began."""


class SubscriptionResponseV2(_SubscriptionFields, kw_only=True):
    """A subscription with what was asked for."""

    plan_prices_out_of_sync: bool
    """Whether the plan has prices newer than the line items."""
    schedule: list[SubscriptionScheduleResponse] | None = None


class ListSubscriptionsResponse(Page[SubscriptionResponse]):
    """A page of subscriptions."""

    items: list[SubscriptionResponse]


class CustomerEntitlementsResponse(Response):
    """What a customer may use, over all subscriptions that are active or trialing."""

    customer_id: str
    subscriptions: list[SubscriptionResponse]
    features: list[AggregatedFeature]


class ListSubscriptionLineItemsResponse(Page[SubscriptionLineItemResponse]):
    """A page of line items."""

    items: list[SubscriptionLineItemResponse]


class AddonAssociationResponse(_StoredRow, kw_only=True):
    """An addon attached to a subscription."""

    entity_id: str
    entity_type: Literal["subscription", "plan", "addon"]
    addon_id: str
    addon_status: AddonStatus
    start_date: Timestamp
    metadata: dict[str, Any]
    end_date: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    cancellation_reason: str | None = None
    addon: AddonResponse | None = None
    subscription: SubscriptionResponse | None = None


class ListAddonAssociationsResponse(Page[AddonAssociationResponse]):
    """The active addons of a subscription."""

    items: list[AddonAssociationResponse]


class SubscriptionQuery(ListQuery):
    """Query string of a list of subscriptions."""

    subscription_ids: Ids | None = None
    customer_id: str | None = None
    customer_ids: Ids | None = None
    external_customer_id: str | None = None
    invoicing_customer_ids: Ids | None = None
    parent_subscription_ids: Ids | None = None
    plan_id: str | None = None
    subscription_status: list[SubscriptionStatus] | None = None
    subscription_type: list[SubscriptionType] | None = None
    billing_cadence: list[BillingCadence] | None = None
    billing_period: list[BillingPeriod] | None = None
    active_at: Moment | None = None
    effective_date_for_update: Moment | None = None
    trial_end_due_lte: Moment | None = None
    with_line_items: bool | None = None
    with_coupon_associations: bool | None = None


class SubscriptionFilter(SubscriptionQuery):
    """Body of a search for subscriptions."""


class SubscriptionLineItemFilter(ListQuery):
    """Body of a search for line items."""

    subscription_line_item_ids: Ids | None = None
    subscription_ids: Ids | None = None
    customer_ids: Ids | None = None
    price_ids: Ids | None = None
    meter_ids: Ids | None = None
    currencies: Ids | None = None
    billing_periods: list[BillingPeriod] | None = None
    entity_ids: Ids | None = None
    entity_type: LineItemOwner | None = None
    addon_association_ids: Ids | None = None
    active_filter: bool | None = None
    current_period_start: Moment | None = None


class ScheduleQuery(ListQuery):
    """Query string of a list of schedules."""

    pending_only: bool | None = None
    subscription_id: str | None = None
    subscription_ids: Ids | None = None
    schedule_type: ScheduleType | None = None
    schedule_status: ScheduleStatus | None = None
