"""Bodies of own billing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from farthing.core.encoding.wire import DecimalText, Request, Response, Timestamp
from farthing.identity.tables import InternalStatus
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus
from farthing.reporting.feature_usage import CustomerUsageSummaryResponse
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.schemas.responses import SubscriptionResponse

Line = Annotated[str, Meta(min_length=1, max_length=255)]


class SelfBillingCheckoutRequest(Request):
    """Who is billed, and where."""

    name: Line
    email: Annotated[str, Meta(min_length=3, max_length=320)]
    address_line1: Line
    address_city: Annotated[str, Meta(min_length=1, max_length=100)]
    address_postal_code: Annotated[str, Meta(min_length=1, max_length=20)]
    address_country: Annotated[str, Meta(min_length=2, max_length=2)]
    address_line2: Annotated[str, Meta(max_length=255)] | None = None
    address_state: Annotated[str, Meta(max_length=100)] | None = None
    tax_id: Annotated[str, Meta(max_length=100)] | None = None


class SelfBillingCheckoutStatus(StrEnum):
    """How far a checkout is."""

    INITIATED = "initiated"
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"


class SelfBillingCheckoutResponse(Response):
    """A checkout. `url` is where it is paid, while it can be."""

    status: SelfBillingCheckoutStatus
    tenant_status: InternalStatus
    terminal: bool
    checkout_id: str | None = None
    url: str | None = None


class SelfBillingPortalSessionResponse(Response):
    """Where the tenant sees its bills, and until when."""

    url: str
    expires_at: Timestamp


class SelfBillingStatusResponse(Response):
    """Whether this deployment bills its tenants, and how the tenant stands."""

    enabled: bool
    status: InternalStatus


class SelfBillingInvoice(Response):
    """An invoice of the host to the tenant."""

    id: str
    status: InvoiceStatus
    payment_status: PaymentStatus
    currency: str
    total: DecimalText
    number: str | None = None
    due_date: Timestamp | None = None
    pdf_url: str | None = None


class SelfBillingSummaryResponse(Response):
    """What the host bills the tenant: the newest invoices, and what was used."""

    status: InternalStatus
    invoices: list[SelfBillingInvoice]
    usage: CustomerUsageSummaryResponse | None
    subscription_status: SubscriptionStatus | None = None
    trial_ends_at: Timestamp | None = None


class TenantBillingResponse(SelfBillingSummaryResponse, kw_only=True):
    """The same for older clients, with the subscriptions."""

    subscriptions: list[SubscriptionResponse]
