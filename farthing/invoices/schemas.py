"""Responses of invoices, with the names and fields of the wire. Requests are in `requests`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from farthing.api.queries.lists import Page
from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.schemas import TaxRateResponse
from farthing.core.checkout import CheckoutSessionResponse
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.core.enums import Status
from farthing.customers.schemas import CustomerResponse
from farthing.events.schemas import CommitmentInfo
from farthing.invoices.ports import InvoiceEmailAnswer
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.rating.totals.discounts import CouponType
from farthing.subscriptions.schemas.responses import SubscriptionResponse


class FxConversionSource(Response):
    """Figures before they were converted, in the currency of the charges."""

    subtotal: DecimalText
    total_discount: DecimalText
    total_prepaid_credits_applied: DecimalText
    net: DecimalText
    """What was payable of them before tax."""


class FxConversion(Response):
    """How an invoice, or a line of it, was converted; of a draft, how it would be now."""

    charge_currency: str
    billing_currency: str
    rate: DecimalText
    rate_id: str
    scope: FxScope
    source: FxConversionSource
    converted_at: Timestamp | None = None
    """Absent while it has not been converted yet."""


class SourceUsageItem(Response):
    """A line's usage and cost from one source."""

    source: str
    cost: DecimalText
    usage: DecimalText
    percentage: DecimalText
    event_count: int


class UsageBreakdownItem(Response):
    """A line's usage and cost in one group."""

    cost: DecimalText
    usage: DecimalText
    percentage: DecimalText
    event_count: int
    grouped_by: dict[str, str]


class InvoiceLineItemResponse(Response):
    """One charge of an invoice."""

    id: str
    invoice_id: str
    customer_id: str
    currency: str
    amount: DecimalText
    quantity: DecimalText
    line_item_discount: DecimalText
    invoice_level_discount: DecimalText
    prepaid_credits_applied: DecimalText
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    subscription_id: str | None = None
    subscription_line_item_id: str | None = None
    entity_id: str | None = None
    entity_type: str | None = None
    plan_display_name: str | None = None
    display_name: str | None = None
    price_id: str | None = None
    price_type: str | None = None
    meter_id: str | None = None
    meter_display_name: str | None = None
    price_unit_id: str | None = None
    price_unit: str | None = None
    price_unit_amount: DecimalText | None = None
    adjusted_entitlement_quantity: DecimalText | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None
    parent_line_item_id: str | None = None
    commitment_info: CommitmentInfo | None = None
    usage_analytics: list[SourceUsageItem] | None = None
    usage_breakdown: list[UsageBreakdownItem] | None = None
    fx_conversion: FxConversion | None = None
    """How the line was converted into the currency that its payer is billed in."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "shown_metadata"}


class CouponApplicationResponse(Response):
    """A discount that was taken."""

    id: str
    invoice_id: str
    coupon_id: str
    applied_at: Timestamp
    currency: str
    discount_type: CouponType
    original_price: DecimalText
    discounted_amount: DecimalText
    final_price: DecimalText
    coupon_snapshot: dict[str, Any]
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    invoice_line_item_id: str | None = None
    subscription_id: str | None = None
    coupon_association_id: str | None = None
    discount_percentage: DecimalText | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class TaxAppliedResponse(Response):
    """A tax that was charged."""

    id: str
    entity_type: TaxEntityType
    entity_id: str
    tax_rate_id: str
    taxable_amount: DecimalText
    tax_amount: DecimalText
    currency: str
    applied_at: Timestamp
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    tax_association_id: str | None = None
    idempotency_key: str | None = None
    tax_rate: TaxRateResponse | None = None
    """Only with `expand=tax_applied.tax_rate`."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class InvoiceResponse(Response):
    """An invoice. Amounts are in its currency's major unit."""

    id: str
    customer_id: str
    currency: str
    invoice_type: InvoiceType
    invoice_status: InvoiceStatus
    payment_status: PaymentStatus
    subtotal: DecimalText
    total_discount: DecimalText
    total_prepaid_credits_applied: DecimalText
    total_tax: DecimalText
    total: DecimalText
    adjustment_amount: DecimalText
    amount_due: DecimalText
    amount_paid: DecimalText
    amount_remaining: DecimalText
    refunded_amount: DecimalText
    invoice_number: str | None
    idempotency_key: str | None
    billing_sequence: int | None
    version: int
    is_manually_edited: bool
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    overpaid_amount: DecimalText | None = None
    """Only when more was paid than is due."""
    subscription_id: str | None = None
    subscription_customer_id: str | None = None
    description: str | None = None
    due_date: Timestamp | None = None
    issue_date: Timestamp | None = None
    """When none was given, the time of creation."""
    paid_at: Timestamp | None = None
    voided_at: Timestamp | None = None
    written_off_at: Timestamp | None = None
    written_off_amount: DecimalText | None = None
    """Only while the invoice is written off: what was lost, less what came after all."""
    write_off_reason: str | None = None
    finalized_at: Timestamp | None = None
    last_computed_at: Timestamp | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None
    billing_period: str | None = None
    billing_reason: str | None = None
    invoice_pdf_url: str | None = None
    recalculated_invoice_id: str | None = None
    source_type: str | None = None
    checkout_session: CheckoutSessionResponse | None = None
    fx_conversion: FxConversion | None = None
    """How the invoice was converted into the currency that its payer is billed in; of a draft, how it would be now."""
    line_items: list[InvoiceLineItemResponse] | None = None
    coupon_applications: list[CouponApplicationResponse] | None = None
    taxes: list[TaxAppliedResponse] | None = None
    customer: CustomerResponse | None = None
    subscription: SubscriptionResponse | None = None
    """When one invoice is read, and in lists with `expand=subscription`."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "shown_metadata"}


class ListInvoicesResponse(Page[InvoiceResponse]):
    """One page of invoices."""


class InvoiceEditResponse(Response):
    """An invoice after an edit of its lines."""

    invoice: InvoiceResponse


class InvoiceComputeResponse(Response):
    """An invoice after a computation, and whether the computation did not apply to it."""

    invoice: InvoiceResponse
    skipped: bool


class CommunicationTriggerResponse(Response):
    """That the payer was to be written to, and what became of the mail."""

    message: str
    email: InvoiceEmailAnswer


class WebhookTriggerResponse(Response):
    """Which event was told once more."""

    message: str
    event_name: str


class PresignedUrlResponse(Response):
    """Where the document can be fetched for a while without credentials."""

    presigned_url: str
