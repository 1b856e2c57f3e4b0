"""Answers about events and usage, with the names and fields of the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from farthing.calendar.billing import BillingPeriod
from farthing.calendar.windows import WindowSize
from farthing.catalogue.answers.schemas import AddonResponse, PlanResponse, PriceResponse
from farthing.catalogue.products.schemas import FeatureResponse, GroupResponse, MeterResponse, ReportingUnit
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.customers.schemas import CustomerResponse
from farthing.metering.meter import AggregationType


class Event(Response):
    """An event as it is stored: its last accepted version. Properties keep their numbers exactly."""

    id: str
    external_customer_id: str
    customer_id: str
    event_name: str
    timestamp: str
    source: str
    properties: dict[str, Any]
    environment_id: str
    ingested_at: Timestamp


class GetEventsResponse(Response):
    """A page of raw events."""

    events: list[Event]
    has_more: bool
    iter_first_key: str | None = None
    iter_last_key: str | None = None
    total_count: int | None = None
    offset: int | None = None


class UsageResult(Response):
    """One window. `window_size` is its start: the wire's name."""

    window_size: Timestamp
    value: float


class GetUsageResponse(Response):
    """Usage as a number, as a series of numbers, or both; zero is left out. Numbers are written exactly."""

    event_name: str
    type: AggregationType
    value: float | None = None
    results: list[UsageResult] | None = None


class EventMonitoringPoint(Response):
    """How many live events have their time in one window."""

    timestamp: Timestamp
    event_count: int


class EventMonitoringResponse(Response):
    """How many live events there are, and what still has to be done with them."""

    total_count: int
    consumption_lag: int
    post_processing_lag: int
    points: list[EventMonitoringPoint] | None = None


class EventCostInfo(Response):
    """What one event costs by itself, in billionths of the currency's unit."""

    requestId: str  # noqa: N815 (the wire's)
    costNanoUsd: DecimalText  # noqa: N815 (the wire's)


class GetHuggingFaceBillingDataResponse(Response):
    """Costs in the order asked for."""

    requests: list[EventCostInfo]


class CommitmentInfo(Response):
    """How a commitment bore on a charge: what was promised, used, missed and exceeded."""

    type: Literal["amount", "quantity"] | None = None
    amount: DecimalText | None = None
    amount_in_force: DecimalText | None = None
    quantity: DecimalText | None = None
    duration: BillingPeriod | None = None
    overage_factor: DecimalText | None = None
    true_up_enabled: bool | None = None
    is_windowed: bool | None = None
    computed_commitment_utilized_amount: DecimalText | None = None
    computed_overage_amount: DecimalText | None = None
    computed_true_up_amount: DecimalText | None = None


class PointBucket(Response):
    """The time-of-day bucket that governs a point."""

    bucket_id: str | None = None
    price_id: str | None = None


class ClockTime(Response):
    """A time of day."""

    hour: int
    minute: int


class BucketSummary(Response):
    """What a time-of-day bucket came to."""

    bucket_id: str
    subscription_line_item_id: str
    price_id: str
    start: ClockTime
    end: ClockTime
    commitment_type: str
    commitment_value: DecimalText
    total_usage: DecimalText
    base_charge: DecimalText
    computed_utilized: DecimalText
    computed_overage: DecimalText
    computed_true_up: DecimalText


class UsageAnalyticPoint(Response):
    """One window of an item; its cost is that of its usage alone."""

    timestamp: Timestamp
    usage: DecimalText
    subtotal: DecimalText
    discount: DecimalText
    cost: DecimalText
    event_count: int
    computed_commitment_utilized_amount: DecimalText
    computed_overage_amount: DecimalText
    computed_true_up_amount: DecimalText
    buckets: list[PointBucket] | None = None


class UsageAnalyticItem(Response):
    """Usage and cost of one line item, or of one group within it."""

    feature_id: str
    total_usage: DecimalText
    total_usage_display: str
    subtotal: DecimalText
    total_discount: DecimalText
    total_cost: DecimalText
    event_count: int
    name: str | None = None
    meter_id: str | None = None
    price_id: str | None = None
    subscription_id: str | None = None
    sub_line_item_id: str | None = None
    plan_id: str | None = None
    add_on_id: str | None = None
    event_name: str | None = None
    aggregation_type: AggregationType | None = None
    source: str | None = None
    sources: list[str] | None = None
    external_customer_id: str | None = None
    unit: str | None = None
    unit_plural: str | None = None
    reporting_unit: ReportingUnit | None = None
    currency: str | None = None
    properties: dict[str, str] | None = None
    commitment_info: CommitmentInfo | None = None
    window_size: WindowSize | None = None
    points: list[UsageAnalyticPoint] | None = None
    bucket_summaries: list[BucketSummary] | None = None
    price: PriceResponse | None = None
    meter: MeterResponse | None = None
    feature: FeatureResponse | None = None
    group: GroupResponse | None = None
    subscription_line_item: dict[str, Any] | None = None
    plan: PlanResponse | None = None
    addon: AddonResponse | None = None


class CustomAnalyticItem(Response):
    """A figure that a rule of the tenant's derives."""

    id: str
    name: str
    feature_name: str
    value: DecimalText
    type: str


class GetUsageAnalyticsResponse(Response):
    """Items and their totals; `currency` is that of the first subscription, "" without one."""

    subtotal: DecimalText
    total_discount: DecimalText
    total_cost: DecimalText
    currency: str
    items: list[UsageAnalyticItem]
    custom_analytics: list[CustomAnalyticItem] | None = None


class EventProcessingStatus(StrEnum):
    """What became of an event."""

    PROCESSED = "processed"
    PROCESSING = "processing"
    FAILED = "failed"


class DebugTrackerStatus(StrEnum):
    """How far one step of the tracker came."""

    UNPROCESSED = "unprocessed"
    NOT_FOUND = "not_found"
    FOUND = "found"
    ERROR = "error"
    PROCESSING = "processing"
    ATTRIBUTED = "attributed"


class FailurePointType(StrEnum):
    """The step at which the tracker stopped."""

    CUSTOMER_LOOKUP = "customer_lookup"
    METER_LOOKUP = "meter_lookup"
    PRICE_LOOKUP = "price_lookup"
    SUBSCRIPTION_LINE_ITEM_LOOKUP = "subscription_line_item_lookup"
    ATTRIBUTED_TO_CUSTOMER = "attributed_to_customer"


class StepErrorCode(StrEnum):
    """Codes of the common error body."""

    HTTP_CLIENT = "http_client_error"
    SYSTEM = "system_error"
    INTERNAL = "internal_error"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    VERSION_CONFLICT = "version_conflict"
    VALIDATION = "validation_error"
    INVALID_OPERATION = "invalid_operation"
    PERMISSION_DENIED = "permission_denied"
    DATABASE = "database_error"
    SERVICE_UNAVAILABLE = "service_unavailable"
    TOO_MANY_REQUESTS = "too_many_requests"
    NOT_IMPLEMENTED = "not_implemented"


class StepError(Response):
    """Why a step found nothing."""

    code: StepErrorCode
    message: str
    http_status_code: int


class FeatureUsageInfo(Response):
    """What an event counts for one meter, and the line item that charges it, if one does."""

    customer_id: str
    subscription_id: str
    sub_line_item_id: str
    price_id: str
    meter_id: str
    feature_id: str
    qty_total: DecimalText
    processed_at: Timestamp


class CustomerLookupResult(Response):
    status: DebugTrackerStatus
    customer: CustomerResponse | None = None
    error: StepError | None = None


class MatchedMeter(Response):
    meter_id: str
    event_name: str
    meter: MeterResponse


class MeterMatchingResult(Response):
    status: DebugTrackerStatus
    matched_meters: list[MatchedMeter] | None = None
    error: StepError | None = None


class MatchedPrice(Response):
    price_id: str
    meter_id: str
    status: str
    price: PriceResponse


class PriceLookupResult(Response):
    status: DebugTrackerStatus
    matched_prices: list[MatchedPrice] | None = None
    error: StepError | None = None


class MatchedSubscriptionLineItem(Response):
    sub_line_item_id: str
    subscription_id: str
    price_id: str
    start_date: Timestamp
    is_active_for_event: bool
    timestamp_within_range: bool
    end_date: Timestamp | None = None
    subscription_line_item: dict[str, Any] | None = None


class SubscriptionLineItemLookupResult(Response):
    status: DebugTrackerStatus
    matched_line_items: list[MatchedSubscriptionLineItem] | None = None
    error: StepError | None = None


class MeterUsageAttribution(Response):
    meter_id: str
    external_customer_id: str
    qty_total: DecimalText


class AttributedToCustomerResult(Response):
    status: DebugTrackerStatus
    meter_usage: MeterUsageAttribution | None = None
    error: StepError | None = None


class FailurePoint(Response):
    failure_point_type: FailurePointType
    error: StepError | None = None


class DebugTracker(Response):
    """The steps from an event to its charge, up to the first that failed; later ones stay unprocessed."""

    customer_lookup: CustomerLookupResult
    meter_matching: MeterMatchingResult
    price_lookup: PriceLookupResult
    subscription_line_item_lookup: SubscriptionLineItemLookupResult
    attributed_to_customer: AttributedToCustomerResult | None = None
    failure_point: FailurePoint | None = None


class GetEventByIDResponse(Response):
    """An event, what it counts, and where it got stuck if it did."""

    event: Event
    status: EventProcessingStatus
    processed_events: list[FeatureUsageInfo] | None = None
    debug_tracker: DebugTracker | None = None
