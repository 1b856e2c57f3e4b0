"""Bodies of payments and saved methods."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Moment,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    currency_code,
    stored_amount,
    web_address,
)
from farthing.core.enums import Status
from farthing.invoices.receivable import PaymentStatus
from farthing.payments.tables import DestinationType, Gateway, PaymentMethodType
from farthing.storage.queries.listing import ListQuery

MOST_IDS = 1000


class StripePaymentGatewayOptions(Request):
    tax_id_collection_enabled: bool | None = None


class PaymentGatewayOptions(Request):
    """Options that only one provider knows."""

    stripe: StripePaymentGatewayOptions | None = None


class CreatePaymentRequest(Request):
    """A payment to make, or to record when the money moved elsewhere."""

    destination_type: DestinationType
    destination_id: Annotated[str, Meta(min_length=1, max_length=50)]
    payment_method_type: PaymentMethodType
    amount: Decimal
    currency: str
    payment_method_id: Annotated[str, Meta(max_length=255)] | None = None
    payment_gateway: Gateway | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    metadata: dict[str, str] | None = None
    process_payment: bool | None = None
    save_card_and_make_default: bool | None = None
    gateway_options: PaymentGatewayOptions | None = None
    idempotency_key: Annotated[str, Meta(max_length=50)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        if self.amount <= 0:
            raise BadField("amount", "must be greater than 0")
        stored_amount("amount", self.amount)
        _check_urls(self)
        checked_metadata(self.metadata)


class UpdatePaymentRequest(Request):
    """What may change on a payment; absent fields stay."""

    payment_status: PaymentStatus | None = None
    payment_gateway: Gateway | None = None
    gateway_payment_id: Annotated[str, Meta(max_length=255)] | None = None
    payment_method_id: Annotated[str, Meta(max_length=255)] | None = None
    metadata: dict[str, str] | None = None
    succeeded_at: Moment | None = None
    failed_at: Moment | None = None
    refunded_at: Moment | None = None
    voided_at: Moment | None = None
    error_message: Annotated[str, Meta(max_length=2000)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_metadata(self.metadata)


class PaymentQuery(ListQuery):
    """Filters of the list of payments."""

    payment_ids: Annotated[list[str], Meta(max_length=MOST_IDS)] | None = None
    destination_type: DestinationType | None = None
    destination_id: str | None = None
    payment_method_type: PaymentMethodType | None = None
    payment_status: PaymentStatus | None = None
    payment_gateway: Gateway | None = None
    currency: str | None = None
    gateway_payment_id: str | None = None
    gateway_tracking_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency is not None:
            self.currency = currency_code("currency", self.currency)


class PaymentAttemptResponse(Response):
    """One try at a payment."""

    id: str
    payment_id: str
    attempt_number: int
    payment_status: PaymentStatus
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    error_message: str | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class PaymentResponse(Response):
    """A payment."""

    id: str
    idempotency_key: str
    destination_type: DestinationType
    destination_id: str
    payment_method_type: PaymentMethodType
    payment_method_id: str
    amount: DecimalText
    currency: str
    payment_status: PaymentStatus
    track_attempts: bool
    save_card_and_make_default: bool
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    payment_gateway: Gateway | None = None
    gateway_payment_id: str | None = None
    gateway_tracking_id: str | None = None
    gateway_metadata: dict[str, str] | None = None
    payment_url: str | None = None
    error_message: str | None = None
    succeeded_at: Timestamp | None = None
    failed_at: Timestamp | None = None
    refunded_at: Timestamp | None = None
    voided_at: Timestamp | None = None
    attempts: list[PaymentAttemptResponse] | None = None
    invoice_number: str | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListPaymentsResponse(Page[PaymentResponse]):
    """One page of payments."""

    items: list[PaymentResponse]


class PaymentSnapshot(Response):
    """A payment in an event."""

    id: str
    destination_type: DestinationType
    destination_id: str
    payment_method_type: PaymentMethodType
    amount: DecimalText
    currency: str
    payment_status: PaymentStatus
    payment_gateway: str | None = None
    succeeded_at: Timestamp | None = None
    failed_at: Timestamp | None = None
    refunded_at: Timestamp | None = None
    voided_at: Timestamp | None = None
    error_message: str | None = None
    invoice_number: str | None = None


class SetupIntentRequest(Request, forbid_unknown_fields=True):
    """A page on which a customer saves a payment method."""

    provider: Literal["stripe", "moyasar"]
    usage: Literal["on_session", "off_session"] = "off_session"
    payment_method_types: list[Literal["card", "us_bank_account", "sepa_debit"]] | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    set_default: bool = False
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_urls(self)
        checked_metadata(self.metadata)


class SetupIntentResponse(Response):
    """Where to send the customer; times are unix seconds."""

    setup_intent_id: str
    checkout_session_id: str
    checkout_url: str
    client_secret: str
    status: str
    usage: str
    customer_id: str
    created_at: int
    expires_at: int


class SavedCardDetails(Response):
    brand: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None
    last4: str | None = None


class SavedUPIDetails(Response):
    vpa: str | None = None


class SavedRecurringPaymentDetails(Response):
    """A mandate to charge again."""

    auto_chargeable_till: str | None = None
    max_amount: DecimalText | None = None
    status: Literal["PENDING", "ACTIVE", "PAUSED", "REJECTED", "CANCELLED", "EXPIRED", "UNKNOWN"] | None = None


class SavedPaymentMethod(Response):
    """A payment method that a provider keeps for a customer."""

    id: str
    provider: Gateway
    type: PaymentMethodType
    status: Literal["ACTIVE", "INACTIVE", "EXPIRED"]
    is_default: bool
    can_auto_charge: bool
    instantly_chargeable: bool
    card: SavedCardDetails | None = None
    upi: SavedUPIDetails | None = None
    recurring: SavedRecurringPaymentDetails | None = None


class ProviderError(Response):
    message: str


class ProviderSavedPaymentMethods(Response):
    """The methods one provider keeps, or why it could not say."""

    provider: Gateway
    items: list[SavedPaymentMethod]
    error: ProviderError | None = None


class SavedPaymentMethodsResponse(Response):
    """A customer's saved methods, by provider."""

    providers: list[ProviderSavedPaymentMethods]


class ListPaymentMethodsResponse(Response):
    """A customer's saved methods at one provider."""

    data: list[SavedPaymentMethod]
    has_more: bool
    total_count: int


def _check_urls(body: Any) -> None:
    for name in ("success_url", "cancel_url"):
        setattr(body, name, web_address(name, getattr(body, name)))


def snapshot(payment: object, invoice_number: str | None) -> dict[str, Any]:
    """The body of an event about a payment."""
    body: dict[str, Any] = msgspec.to_builtins(PaymentSnapshot.of(payment, invoice_number=invoice_number))
    return {"payment": body}
