"""What endpoints of plan changes take and answer, with the names and fields of the wire."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.catalogue.fields import Id
from farthing.catalogue.prices.enums import BillingCadence
from farthing.core.checkout import CheckoutParams, CheckoutSessionResponse
from farthing.core.encoding.wire import BadField, DecimalText, Moment, Request, Response, Timestamp, checked_metadata
from farthing.core.money import plain
from farthing.invoices.schemas import InvoiceResponse
from farthing.subscriptions.changes.planned_terms import RequestedQuantity
from farthing.subscriptions.enums import (
    AddonPolicy,
    ChangeAt,
    ChangeType,
    LineItemOwner,
    ProrationBehavior,
    SubscriptionStatus,
)
from farthing.subscriptions.schemas.commitments import quantity as checked_quantity
from farthing.subscriptions.schemas.responses import SubscriptionResponse


class PlanSummary(Response):
    """A plan in short."""

    id: str
    name: str
    description: str = ""
    lookup_key: str = ""


class ProrationDetails(Response):
    """What a plan change credits and charges for the rest of the period."""

    credit_amount: DecimalText
    credit_description: str
    charge_amount: DecimalText
    charge_description: str
    net_amount: DecimalText
    proration_date: Timestamp
    current_period_start: Timestamp
    current_period_end: Timestamp
    days_used: int
    days_remaining: int
    currency: str


class InvoiceLineItemPreview(Response):
    """A line of an invoice to come."""

    description: str
    amount: DecimalText
    quantity: DecimalText
    is_proration: bool
    unit_price: DecimalText | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None


class InvoicePreview(Response):
    """An invoice to come."""

    subtotal: DecimalText
    tax_amount: DecimalText
    total: DecimalText
    currency: str
    line_items: list[InvoiceLineItemPreview]
    due_date: Timestamp | None = None


class BillingCycleInfo(Response):
    """When a subscription bills."""

    period_start: Timestamp
    period_end: Timestamp
    billing_anchor: Timestamp
    billing_cadence: BillingCadence
    billing_period: BillingPeriod
    billing_period_count: int


class SubscriptionSummary(Response):
    """A subscription in short."""

    id: str
    status: SubscriptionStatus
    plan_id: str
    current_period_start: Timestamp
    current_period_end: Timestamp
    billing_anchor: Timestamp
    created_at: Timestamp
    archived_at: Timestamp | None = None


class PlanChangeLineItem(Request):
    """The quantity of one recurring fixed price of the target plan, named by its id or its lookup key."""

    quantity: Decimal
    price_id: Id | None = None
    lookup_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.price_id is None) == (self.lookup_key is None):
            raise BadField("price_id", "or lookup_key is required, and not both")
        checked_quantity("quantity", self.quantity)
        if self.quantity <= 0:
            raise BadField("quantity", "must be above 0")


class _Changing(Request):
    metadata: dict[str, str] | None = None
    change_at: ChangeAt = ChangeAt.IMMEDIATE
    line_items: list[PlanChangeLineItem] | None = None
    """Quantities that win over those that would be carried over."""
    proration_date: Moment | None = None
    """From when an immediate change counts: now, or a moment of the open period before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proration_date is not None and self.change_at is not ChangeAt.IMMEDIATE:
            raise BadField("proration_date", "is only for an immediate change")
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)

    @property
    def requested_quantities(self) -> list[RequestedQuantity]:
        """The quantities as a schedule keeps them."""
        return [
            RequestedQuantity(plain(item.quantity), item.price_id or "", item.lookup_key or "")
            for item in self.line_items or ()
        ]


class SubscriptionChangeRequest(_Changing, kw_only=True):
    """A plan change that replaces the subscription."""

    target_plan_id: Id
    proration_behavior: ProrationBehavior
    billing_cadence: BillingCadence
    billing_period: BillingPeriod
    billing_cycle: BillingCycle
    billing_period_count: Annotated[int, Meta(ge=0, le=1200)] = 1


class SubscriptionChangePreviewResponse(Response):
    """What a replacing plan change would come to."""

    subscription_id: str
    current_plan: PlanSummary
    target_plan: PlanSummary
    change_type: ChangeType
    effective_date: Timestamp
    warnings: list[str]
    metadata: dict[str, str]
    new_billing_cycle: BillingCycleInfo
    proration_details: ProrationDetails | None = None
    next_invoice_preview: InvoicePreview | None = None


class SubscriptionChangeExecuteResponse(Response):
    """What a replacing plan change came to, or when it will happen."""

    is_scheduled: bool
    change_type: ChangeType
    effective_date: Timestamp
    metadata: dict[str, str]
    old_subscription: SubscriptionSummary | None = None
    new_subscription: SubscriptionSummary | None = None
    warnings: list[str] = []
    invoice: InvoiceResponse | None = None
    proration_applied: ProrationDetails | None = None
    credit_grants: list[dict[str, Any]] | None = None
    schedule_id: str | None = None
    scheduled_at: Timestamp | None = None


class EntityChangePolicy(Request):
    """What happens to addons: by default, and to single ones, by association."""

    default_behaviour: AddonPolicy | None = None
    overrides: dict[str, AddonPolicy] | None = None


class SubscriptionChangeEntityPolicies(Request):
    """What a plan change does with what is not the plan's."""

    addons: EntityChangePolicy | None = None


class ConflictPolicies(Request):
    """What to do about a plan change that waits already."""

    on_pending_schedule: Literal["reject", "supersede"] = "reject"


class SubscriptionChangeV2Request(_Changing, kw_only=True):
    """A plan change that keeps the subscription."""

    target_plan_id: Id
    proration_behavior: ProrationBehavior
    entity_policies: SubscriptionChangeEntityPolicies | None = None
    idempotency_key: Annotated[str, Meta(max_length=255)] | None = None
    billing_period_behaviour: str = "unchanged"
    billing_period_config: dict[str, Any] | None = None
    on_conflict_policies: ConflictPolicies | None = None
    checkout: CheckoutParams | None = None


class ChangedLineItemAction(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    ENDED = "ended"


class ChangedLineItem(Response):
    """A line item that a change made, re-pointed or ended."""

    id: str
    price_id: str
    quantity: DecimalText
    start_date: Timestamp
    change_action: ChangedLineItemAction
    end_date: Timestamp | None = None


class ChangedInvoice(Response):
    """Where the money of a change went: an invoice, or credit for the payer."""

    id: str
    action: Literal["created", "wallet_credit", "credit_note"]
    status: str
    invoice: InvoiceResponse | None = None
    wallet_transaction: dict[str, Any] | None = None
    amount: DecimalText | None = None
    """What is credited to the payer."""


class ChangedSubscription(Response):
    """A subscription that a change made or changed."""

    id: str
    action: Literal["created", "updated"]
    status: SubscriptionStatus
    current_period_end: Timestamp | None = None
    trial_end: Timestamp | None = None


class ChangedResources(Response):
    """All that a change touched."""

    line_items: list[ChangedLineItem]
    invoices: list[ChangedInvoice]
    subscriptions: list[ChangedSubscription]


class EntityChangeResult(Response):
    """What a plan change did with one addon."""

    entity_id: str
    entity_type: LineItemOwner
    reference_id: str
    behaviour: AddonPolicy


class SubscriptionChangeV2Response(Response):
    """What a plan change in place came to, or when it will happen."""

    subscription: SubscriptionResponse
    changed_resources: ChangedResources
    change_type: ChangeType
    effective_at: Timestamp
    from_plan: PlanSummary
    to_plan: PlanSummary
    entity_changes: list[EntityChangeResult]
    is_scheduled: bool
    warnings: list[str]
    metadata: dict[str, str]
    schedule_id: str | None = None
    scheduled_at: Timestamp | None = None
    superseded_schedules: list[str] | None = None
    checkout_session: CheckoutSessionResponse | None = None
