"""Requests about invoices, with the names and fields of the wire, checked for what one body can say."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta

from farthing.core.checkout import CheckoutParams
from farthing.core.encoding.wire import (
    BadField,
    Moment,
    Request,
    checked_metadata,
    currency_code,
    stored_amount,
    web_address,
)
from farthing.core.enums import PriceType
from farthing.customers.schemas import TaxRateOverride
from farthing.events.schemas import CommitmentInfo
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.storage.queries.listing import ListQuery

MOST_LINES = 1000
MOST_EDITED_LINES = 100
MOST_COUPONS = 50
MOST_TAXES = 50
MOST_IDS = 1000
RESERVED_METADATA = frozenset({"wallet_transaction_id", "auto_completed"})
"""Keys that only the service writes: they say that money or credits have moved."""

Id = Annotated[str, Meta(max_length=50)]
Name = Annotated[str, Meta(max_length=500)]
Word = Annotated[str, Meta(max_length=20)]
Ids = Annotated[list[str], Meta(max_length=MOST_IDS)]
NEGATIVE = "must not be negative; give value back with a credit note"


def _amount(field: str, amount: Decimal) -> None:
    stored_amount(field, amount)
    if amount < 0:
        raise BadField(field, NEGATIVE)


def _quantity(field: str, quantity: Decimal) -> None:
    if quantity < 0:
        raise BadField(field, "must not be negative")


class CreateInvoiceLineItemRequest(Request):
    """One charge. `amount` is gross, in the invoice's currency, and rounded to it."""

    amount: Decimal
    quantity: Decimal
    display_name: Name | None = None
    price_type: PriceType | None = None
    price_id: Id | None = None
    meter_id: Id | None = None
    meter_display_name: Name | None = None
    entity_id: Id | None = None
    entity_type: Word | None = None
    plan_id: Id | None = None
    plan_display_name: Name | None = None
    price_unit: Word | None = None
    price_unit_amount: Decimal | None = None
    subscription_id: Id | None = None
    subscription_line_item_id: Id | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    metadata: dict[str, str] | None = None
    commitment_info: CommitmentInfo | None = None
    adjusted_entitlement_quantity: Decimal | None = None
    line_item_discount: Decimal | None = None
    invoice_level_discount: Decimal | None = None
    prepaid_credits_applied: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _amount("amount", self.amount)
        _quantity("quantity", self.quantity)
        for field in ("line_item_discount", "invoice_level_discount", "prepaid_credits_applied", "price_unit_amount"):
            if getattr(self, field) is not None:
                _amount(field, getattr(self, field))
        if self.adjusted_entitlement_quantity is not None:
            _quantity("adjusted_entitlement_quantity", self.adjusted_entitlement_quantity)
        if self.period_start and self.period_end and self.period_end < self.period_start:
            raise BadField("period_end", "must not be before period_start")
        self.metadata = checked_metadata(self.metadata)


class InvoiceCoupon(Request):
    """A coupon on the whole invoice."""

    coupon_id: Id
    coupon_association_id: Id | None = None


class InvoiceLineItemCoupon(Request):
    """A coupon on the lines of one price (`line_item_id`) or one subscription line item."""

    coupon_id: Id
    line_item_id: Id
    subscription_line_item_id: Id | None = None
    coupon_association_id: Id | None = None


class CreateInvoiceRequest(Request):
    """A new invoice. `total` and `amount_due` are what the caller expects; they are worked out anew."""

    customer_id: Id
    currency: str
    amount_due: Decimal
    subtotal: Decimal
    total: Decimal
    invoice_type: InvoiceType | None = None
    billing_reason: BillingReason | None = None
    invoice_status: InvoiceStatus | None = None
    payment_status: PaymentStatus | None = None
    line_items: Annotated[list[CreateInvoiceLineItemRequest], Meta(max_length=MOST_LINES)] | None = None
    coupons: Annotated[list[str], Meta(max_length=MOST_COUPONS)] | None = None
    invoice_coupons: Annotated[list[InvoiceCoupon], Meta(max_length=MOST_COUPONS)] | None = None
    line_item_coupons: Annotated[list[InvoiceLineItemCoupon], Meta(max_length=MOST_COUPONS)] | None = None
    tax_rates: Annotated[list[str], Meta(max_length=MOST_TAXES)] | None = None
    tax_rate_overrides: Annotated[list[TaxRateOverride], Meta(max_length=MOST_TAXES)] | None = None
    prepared_tax_rates: list[dict[str, Any]] | None = None
    """Accepted and not read: rates are looked up by id or code."""
    amount_paid: Decimal | None = None
    total_prepaid_applied: Decimal | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    due_date: Moment | None = None
    issue_date: Moment | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None
    billing_period: Word | None = None
    subscription_id: Id | None = None
    idempotency_key: Annotated[str, Meta(max_length=100)] | None = None
    invoice_number: Annotated[str, Meta(max_length=100)] | None = None
    invoice_pdf_url: Annotated[str, Meta(max_length=2000)] | None = None
    force_sync_invoice: bool | None = None
    checkout: CheckoutParams | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        credit = self.kind is InvoiceType.CREDIT
        for field in ("amount_due", "subtotal", "total"):
            stored_amount(field, getattr(self, field))
            if getattr(self, field) < 0 and not (credit and self.line_items):
                raise BadField(field, NEGATIVE)
        for field in ("amount_paid", "total_prepaid_applied"):
            if getattr(self, field) is not None:
                _amount(field, getattr(self, field))
        if self.invoice_status not in {None, InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED}:
            raise BadField("invoice_status", "must be DRAFT or FINALIZED")
        if self.period_start and self.period_end and self.period_end < self.period_start:
            raise BadField("period_end", "must not be before period_start")
        web_address("invoice_pdf_url", self.invoice_pdf_url)
        self.metadata = checked_metadata(self.metadata)
        if self.kind is InvoiceType.SUBSCRIPTION:
            self._check_subscription()
        if self.checkout is not None:
            self._check_checkout()

    @property
    def kind(self) -> InvoiceType:
        return self.invoice_type or InvoiceType.ONE_OFF

    def _check_checkout(self) -> None:
        if self.kind is not InvoiceType.ONE_OFF:
            raise BadField("checkout", "goes with invoices of type ONE_OFF")
        if self.amount_paid:
            raise BadField("amount_paid", "does not go with checkout, which asks for the whole")
        if self.invoice_number:
            raise BadField("invoice_number", "does not go with checkout: the number is given when it is paid")

    def _check_subscription(self) -> None:
        for field in ("subscription_id", "billing_period", "period_start", "period_end"):
            if not getattr(self, field):
                raise BadField(field, "is required for an invoice of type SUBSCRIPTION")
        for index, line in enumerate(self.line_items or ()):
            if not line.price_id:
                raise BadField(f"line_items[{index}].price_id", "is required for an invoice of type SUBSCRIPTION")


class ComputeInvoiceRequest(Request):
    """What may replace a draft's charges before it is computed; a field that is absent stays."""

    line_items: Annotated[list[CreateInvoiceLineItemRequest], Meta(max_length=MOST_LINES)] | None = None
    subtotal: Decimal | None = None
    total: Decimal | None = None
    amount_due: Decimal | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    due_date: Moment | None = None
    invoice_coupons: Annotated[list[InvoiceCoupon], Meta(max_length=MOST_COUPONS)] | None = None
    line_item_coupons: Annotated[list[InvoiceLineItemCoupon], Meta(max_length=MOST_COUPONS)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("subtotal", "total", "amount_due"):
            if getattr(self, field) is not None:
                _amount(field, getattr(self, field))


class UpdateInvoiceRequest(Request):
    """What to change; a field that is absent or null stays. `metadata` replaces."""

    invoice_pdf_url: Annotated[str, Meta(max_length=2000)] | None = None
    due_date: Moment | None = None
    metadata: dict[str, str] | None = None
    apply_discount: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        web_address("invoice_pdf_url", self.invoice_pdf_url)
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class VoidInvoiceRequest(Request):
    """`metadata` is merged into the invoice's; `refund_target` says where money that was paid goes."""

    metadata: dict[str, str] | None = None
    refund_target: Literal["PREPAID_WALLET", "BACK_TO_SOURCE"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


class WriteOffInvoiceRequest(Request):
    """Why nobody expects what remains on an invoice any more."""

    reason: Annotated[str, Meta(max_length=500)]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reason = self.reason.strip()
        if not self.reason:
            raise BadField("reason", "must not be empty")


class AddLineItemRequest(Request):
    """A charge added by hand."""

    display_name: Annotated[str, Meta(min_length=1, max_length=500)]
    amount: Decimal
    quantity: Decimal
    description: Name | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _amount("amount", self.amount)
        _quantity("quantity", self.quantity)
        if self.period_start and self.period_end and self.period_end < self.period_start:
            raise BadField("period_end", "must not be before period_start")


class UpdateLineItemRequest(Request):
    """What to change about a charge; at least one field."""

    display_name: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    amount: Decimal | None = None
    quantity: Decimal | None = None
    description: Name | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if all(getattr(self, field) is None for field in self.__struct_fields__):
            raise BadField("update", "must name at least one field")
        if self.amount is not None:
            _amount("amount", self.amount)
        if self.quantity is not None:
            _quantity("quantity", self.quantity)


class InvoiceModifyLineItemParams(Request):
    """Which lines to add, change or take off."""

    action: Literal["add", "update", "remove"]
    items: Annotated[list[AddLineItemRequest], Meta(max_length=MOST_EDITED_LINES)] | None = None
    line_item_ids: Annotated[list[str], Meta(max_length=MOST_EDITED_LINES)] | None = None
    line_item_id: Id | None = None
    update: UpdateLineItemRequest | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = {"add": ("items",), "remove": ("line_item_ids",), "update": ("line_item_id", "update")}[self.action]
        for field in needed:
            if not getattr(self, field):
                raise BadField(field, f"is required for action {self.action}")
        for field in ("line_item_ids", "line_item_id"):
            if getattr(self, field) and field not in needed:
                raise BadField(field, f"is not for action {self.action}")


class ModifyInvoiceRequest(Request):
    """An edit of a draft by hand."""

    type: Literal["line_item"]
    line_item_params: InvoiceModifyLineItemParams | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.line_item_params is None:
            raise BadField("line_item_params", "is required for type line_item")


class UpdatePaymentStatusRequest(Request):
    """A mark by hand. `amount` is read for PENDING alone: it becomes what was paid."""

    payment_status: PaymentStatus
    amount: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount is not None:
            stored_amount("amount", self.amount)
            if self.amount < 0:
                raise BadField("amount", "must not be negative")
        if self.payment_status not in {PaymentStatus.PENDING, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED}:
            raise BadField("payment_status", "must be PENDING, SUCCEEDED or FAILED")


class InvoiceFilter(ListQuery):
    """The filter of the invoice list. Conditions are joined by AND; an empty list is no condition.

    `start_time` and `end_time` bound the service period; without `invoice_status`, skipped invoices are hidden.
    """

    invoice_ids: Ids | None = None
    customer_id: str | None = None
    external_customer_id: str | None = None
    subscription_id: str | None = None
    subscription_customer_id: Ids | None = None
    invoice_type: InvoiceType | None = None
    currency: str | None = None
    invoice_status: Annotated[list[InvoiceStatus], Meta(max_length=20)] | None = None
    payment_status: Annotated[list[PaymentStatus], Meta(max_length=20)] | None = None
    billing_reason: BillingReason | None = None
    amount_due_gt: Decimal | None = None
    amount_remaining_gt: Decimal | None = None
    period_start_gte: Moment | None = None
    period_start_lte: Moment | None = None
    period_end_gte: Moment | None = None
    period_end_lte: Moment | None = None
    finalized_at_gte: Moment | None = None
    voided_at_gte: Moment | None = None
    skip_line_items: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency:
            self.currency = currency_code("currency", self.currency)
        for field in ("amount_due_gt", "amount_remaining_gt"):
            if getattr(self, field) is not None:
                stored_amount(field, getattr(self, field))
