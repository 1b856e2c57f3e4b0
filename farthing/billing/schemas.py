"""What billing's endpoints take and answer, with the names and fields of the wire."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from farthing.billing.plan_change_schemas import ChangedResources
from farthing.catalogue.fields import Id, OptionalId
from farthing.core.checkout import CheckoutParams, CheckoutSessionResponse
from farthing.core.encoding.wire import BadField, DecimalText, Moment, Request, Response, Timestamp
from farthing.invoices.schemas import InvoiceResponse
from farthing.subscriptions.enums import CancellationType, SubscriptionStatus
from farthing.subscriptions.schemas.commitments import money, quantity
from farthing.subscriptions.schemas.requests import (
    AddAddonToSubscriptionRequest,
    RemoveAddonRequest,
    SubscriptionCouponInput,
)
from farthing.subscriptions.schemas.responses import (
    AddonAssociationResponse,
    SubscriptionPauseResponse,
    SubscriptionResponse,
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
    checkout: CheckoutParams | None = None


class AddAddonToSubscriptionResponse(AddonAssociationResponse, kw_only=True):
    """An addon that was attached, and the invoice for the rest of the period, if one was made."""

    invoice: InvoiceResponse | None = None
    checkout_session: CheckoutSessionResponse | None = None


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
    checkout: CheckoutParams | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self, f"{self.type.value}_params") is None:
            raise BadField(f"{self.type.value}_params", f"is required for type {self.type.value}")


class SubscriptionModifyResponse(Response):
    """What a modification came to."""

    subscription: SubscriptionResponse
    changed_resources: ChangedResources
    checkout_session: CheckoutSessionResponse | None = None
