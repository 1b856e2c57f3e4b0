"""What the doors of billing take and answer, with the names and fields of the wire."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.catalogue.fields import Id, OptionalId
from farthing.catalogue.prices.tables import BillingCadence
from farthing.core.wire import BadField, DecimalText, Moment, Request, Response, Timestamp, checked_metadata
from farthing.invoices.schemas import InvoiceResponse
from farthing.subscriptions.changing import AddonPolicy
from farthing.subscriptions.requests import (
    AddAddonToSubscriptionRequest,
    RemoveAddonRequest,
    SubscriptionCouponInput,
    money,
    quantity,
)
from farthing.subscriptions.schemas import AddonAssociationResponse, SubscriptionPauseResponse, SubscriptionResponse
from farthing.subscriptions.words import (
    CancellationType,
    ChangeAt,
    ChangeType,
    LineItemOwner,
    ProrationBehavior,
    SubscriptionStatus,
)

MOST_CHANGED = 100


class GetPreviewInvoiceRequest(Request):
    """Which period to preview; the open one by default."""

    subscription_id: Id
    period_start: Moment | None = None
    period_end: Moment | None = None
    hide_zero_charges_line_items: bool = False


class WorkflowResult(Response):
    """A piece of work that was done, and where it can be looked up."""

    message: str
    workflow_id: str
    run_id: str


class AddAddonRequest(AddAddonToSubscriptionRequest, kw_only=True):
    """An addon to attach to a subscription."""

    subscription_id: Id
    checkout: dict[str, Any] | None = None


class AddAddonToSubscriptionResponse(AddonAssociationResponse, kw_only=True):
    """An addon that was attached, and the invoice for the rest of the period, if one was made."""

    invoice: InvoiceResponse | None = None
    checkout_session: dict[str, Any] | None = None


class ProrationDetail(Response):
    """What a cancellation credits for one line item."""

    line_item_id: str
    price_id: str
    plan_name: str
    original_amount: DecimalText
    credit_amount: DecimalText
    charge_amount: DecimalText
    proration_days: int
    description: str


class CancelSubscriptionResponse(Response):
    """What a cancellation came to."""

    subscription_id: str
    cancellation_type: CancellationType
    effective_date: Timestamp
    status: SubscriptionStatus
    reason: str
    proration_details: list[ProrationDetail]
    total_credit_amount: DecimalText
    message: str
    processed_at: Timestamp
    proration_invoice: InvoiceResponse | None = None


class BillingImpact(Response):
    """What a pause does to the open period. Amounts are those of the real fees in advance."""

    period_adjustment_amount: DecimalText
    next_billing_amount: DecimalText
    original_period_start: Timestamp
    original_period_end: Timestamp
    pause_duration_days: int
    next_billing_date: Timestamp | None = None
    adjusted_period_start: Timestamp | None = None
    adjusted_period_end: Timestamp | None = None


class PauseResponse(Response):
    """A subscription that was paused or resumed."""

    subscription: SubscriptionResponse
    pause: SubscriptionPauseResponse
    billing_impact: BillingImpact
    dry_run: bool


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


class _Changing(Request):
    metadata: dict[str, str] | None = None
    change_at: ChangeAt = ChangeAt.IMMEDIATE
    proration_date: Moment | None = None
    """From when an immediate change counts: now, or a moment of the open period before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proration_date is not None and self.change_at is not ChangeAt.IMMEDIATE:
            raise BadField("proration_date", "is only for an immediate change")
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


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
    action: Literal["created", "wallet_credit"]
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


class AddOrRemove(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class LineItemQuantityChange(Request):
    """Another quantity for a line item."""

    id: Id
    quantity: Decimal
    effective_date: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantity < 0:
            raise BadField("quantity", "must not be negative")


class SubModifyQuantityChangeRequest(Request):
    """Other quantities."""

    line_items: Annotated[list[LineItemQuantityChange], Meta(min_length=1, max_length=MOST_CHANGED)]


class SubModifyAddonParams(Request):
    """An addon to attach or to detach."""

    action: AddOrRemove
    add: AddAddonToSubscriptionRequest | None = None
    remove: RemoveAddonRequest | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self, self.action.value) is None:
            raise BadField(self.action.value, f"is required for action {self.action.value}")


class SubModifyInheritanceRequest(Request):
    """Customers who shall inherit the subscription, or no more."""

    action: AddOrRemove
    external_customer_ids_to_inherit_subscription: Annotated[list[str], Meta(max_length=MOST_CHANGED)] | None = None
    external_customer_ids_to_remove: Annotated[list[str], Meta(max_length=MOST_CHANGED)] | None = None


class SubModifyGroupedInvoicingParams(Request):
    """Subscriptions to be invoiced with this one, or no more."""

    action: AddOrRemove
    parent_subscription_id: OptionalId | None = None
    child_subscription_ids: Annotated[list[str], Meta(max_length=MOST_CHANGED)] | None = None


class SubModifyTrialEndRequest(Request):
    """When the trial shall end."""

    action: Literal["immediate", "scheduled_date"]
    new_trial_end: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action == "scheduled_date" and self.new_trial_end is None:
            raise BadField("new_trial_end", "is required for scheduled_date")


class SubModifyCouponParams(Request):
    """A coupon to attach, or an association to end."""

    action: AddOrRemove
    coupon_code: str | None = None
    coupon_association_id: OptionalId | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    subscription_id: OptionalId | None = None
    subscription_line_item_id: OptionalId | None = None


class SubModifyTaxParams(Request):
    """A tax rate to add, or an association to end."""

    action: AddOrRemove
    tax_rate_id: OptionalId | None = None
    tax_association_id: OptionalId | None = None
    effective_date: Moment | None = None


class LineItemChange(Request):
    """Another amount, another quantity, or both for one line item; coupons are for the version that this makes."""

    id: Id
    amount: Decimal | None = None
    quantity: Decimal | None = None
    effective_date: Moment | None = None
    coupons: Annotated[list[SubscriptionCouponInput], Meta(max_length=MOST_CHANGED)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount is not None:
            money("amount", self.amount)
        if self.quantity is not None:
            quantity("quantity", self.quantity)
        if self.amount is None and self.quantity is None:
            raise BadField("amount", "or quantity is required")


class SubModifyLineItemChangeRequest(Request):
    """Changes of line items; a single one may stand here itself."""

    line_items: Annotated[list[LineItemChange], Meta(min_length=1, max_length=MOST_CHANGED)] | None = None
    id: OptionalId | None = None
    amount: Decimal | None = None
    quantity: Decimal | None = None
    effective_date: Moment | None = None
    coupons: Annotated[list[SubscriptionCouponInput], Meta(max_length=MOST_CHANGED)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.line_items) == bool(self.id):
            raise BadField("line_items", "or id must be given, and not both")

    @property
    def changes(self) -> list[LineItemChange]:
        """All of them."""
        if self.line_items:
            return self.line_items
        return [
            LineItemChange(
                id=self.id or "",
                amount=self.amount,
                quantity=self.quantity,
                effective_date=self.effective_date,
                coupons=self.coupons,
            )
        ]


class SubscriptionModifyType(StrEnum):
    INHERITANCE = "inheritance"
    QUANTITY_CHANGE = "quantity_change"
    GROUPED_INVOICING = "grouped_invoicing"
    TRIAL_END = "trial_end"
    COUPON = "coupon"
    TAX = "tax"
    ADDON = "addon"
    LINE_ITEM_CHANGE = "line_item_change"


class ExecuteSubscriptionModifyRequest(Request):
    """A modification: its type, and the parameters of that type."""

    type: SubscriptionModifyType
    quantity_change_params: SubModifyQuantityChangeRequest | None = None
    addon_params: SubModifyAddonParams | None = None
    inheritance_params: SubModifyInheritanceRequest | None = None
    grouped_invoicing_params: SubModifyGroupedInvoicingParams | None = None
    trial_end_params: SubModifyTrialEndRequest | None = None
    coupon_params: SubModifyCouponParams | None = None
    tax_params: SubModifyTaxParams | None = None
    line_item_change_params: SubModifyLineItemChangeRequest | None = None
    checkout: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self, f"{self.type.value}_params") is None:
            raise BadField(f"{self.type.value}_params", f"is required for type {self.type.value}")


class SubscriptionModifyResponse(Response):
    """What a modification came to."""

    subscription: SubscriptionResponse
    changed_resources: ChangedResources
    checkout_session: dict[str, Any] | None = None
