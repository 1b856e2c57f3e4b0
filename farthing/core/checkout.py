"""Checkouts as they travel: what a request that is to be paid first says of them, and how a session is answered.

Several packages take such a request and answer with a session; `farthing.checkout` owns what happens in between.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    stored_amount,
    web_address,
)
from farthing.core.enums import Status


class CheckoutAction(StrEnum):
    """What is done once a checkout is paid."""

    CREATE_SUBSCRIPTION = "create_subscription"
    MODIFY_SUBSCRIPTION = "modify_subscription"
    WALLET_TOPUP = "wallet_topup"
    ADD_ADDON = "add_addon"
    PAY_INVOICE = "pay_invoice"


class CheckoutStatus(StrEnum):
    """How far a checkout is; the last three are final."""

    INITIATED = "initiated"
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"


class CheckoutPaymentProvider(StrEnum):
    """Providers that a checkout can be paid through."""

    RAZORPAY = "razorpay"
    STRIPE = "stripe"
    CHARGEBEE = "chargebee"


class EntityCreationStatus(StrEnum):
    """What became of the thing that was paid for."""

    CREATED = "created"
    SUPERSEDED = "superseded"
    FAILED_ALREADY_EXISTS = "failed_already_exists"


class CheckoutPaymentProviderConfig(Request):
    """How the payment is made, and how later invoices are collected."""

    collection_method: Literal["charge_automatically", "send_invoice"] | None = None
    payment_method: Literal["CARD", "ACH", "UPI", "PAYMENT_LINK", "OFFLINE", "CREDITS"] | None = None
    max_mandate_limit: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.payment_method in {"OFFLINE", "CREDITS"}:
            raise BadField("payment_method", "must be one that a provider collects: CARD, ACH, UPI or PAYMENT_LINK")
        if self.max_mandate_limit is not None:
            if self.max_mandate_limit <= 0:
                raise BadField("max_mandate_limit", "must be greater than 0")
            stored_amount("max_mandate_limit", self.max_mandate_limit)


class CheckoutParams(Request):
    """That something is done only once it is paid, through which provider, and where the payer goes afterwards."""

    payment_provider: CheckoutPaymentProvider
    payment_provider_config: CheckoutPaymentProviderConfig | None = None
    success_url: str | None = None
    failure_url: str | None = None
    cancel_url: str | None = None
    idempotency_key: Annotated[str, Meta(max_length=255)] | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("success_url", "failure_url", "cancel_url"):
            setattr(self, name, web_address(name, getattr(self, name)))
        self.metadata = checked_metadata(self.metadata)


class PaymentAction(Response):
    """Where the payer pays."""

    type: Literal["checkout_url", "payment_link"]
    url: str


class CheckoutPaymentBlock(Response):
    """The payment of a checkout."""

    id: str
    status: Literal[
        "INITIATED",
        "PENDING",
        "PROCESSING",
        "SUCCEEDED",
        "OVERPAID",
        "FAILED",
        "REFUNDED",
        "PARTIALLY_REFUNDED",
        "VOIDED",
    ]
    gateway: str | None = None


class EntityCreationResult(Response):
    """What was paid for, and whether it was done."""

    entity_id: str
    status: EntityCreationStatus


class CreateSubscriptionResult(Response):
    """What the creation of a subscription came to."""

    subscription_id: str
    invoice_id: str | None = None
    payment_id: str | None = None


class CheckoutResult(Response):
    """What a completed checkout led to."""

    create_subscription_result: CreateSubscriptionResult | None = None


class CheckoutProviderResult(Response):
    """The provider's page, as far as a client needs it; nothing of its credentials."""

    provider_session_id: str | None = None
    provider_payment_intent_id: str | None = None
    expires_at: Timestamp | None = None
    next_action: PaymentAction | None = None
    provider_metadata: dict[str, str] | None = None


class ShownProviderConfig(Response):
    """How the payment is made, as it was asked for."""

    collection_method: Literal["charge_automatically", "send_invoice"] | None = None
    payment_method: Literal["CARD", "ACH", "OFFLINE", "CREDITS", "PAYMENT_LINK", "UPI"] | None = None
    max_mandate_limit: DecimalText | None = None


class ShownSubscriptionParams(Response):
    """The subscription that is paid for."""

    subscription_id: str | None = None
    plan_id: str | None = None
    currency: str | None = None
    billing_period: Literal["MONTHLY", "ANNUAL", "WEEKLY", "DAILY", "QUARTERLY", "HALF_YEARLY", "ONETIME"] | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    lookup_key: str | None = None
    metadata: dict[str, str] | None = None


class ShownLineItemModification(Response):
    """Another quantity or amount of one line item."""

    line_item_id: str | None = None
    quantity: DecimalText | None = None
    amount: DecimalText | None = None
    effective_date: Timestamp | None = None


class ShownModificationParams(Response):
    """The change of a subscription that is paid for."""

    subscription_id: str | None = None
    line_item_modifications: list[ShownLineItemModification] | None = None
    target_plan_id: str | None = None


class ShownTopUpParams(Response):
    """The credits that are paid for."""

    wallet_id: str
    wallet_transaction_id: str | None = None


class ShownAddonRef(Response):
    """One addon that is paid for."""

    addon_id: str | None = None
    association_id: str | None = None
    cadence: Literal["onetime", "recurring"] | None = None
    proration_behavior: Literal["create_prorations", "none"] | None = None
    start_date: Timestamp | None = None


class ShownAddonParams(Response):
    """The addons that are paid for."""

    subscription_id: str | None = None
    addons: list[ShownAddonRef] | None = None


class ShownInvoiceParams(Response):
    """The invoice that is paid."""

    invoice_id: str


class ShownConfiguration(Response):
    """What a checkout is for: the parameters of its action."""

    create_subscription_params: ShownSubscriptionParams | None = None
    modify_subscription_params: ShownModificationParams | None = None
    wallet_topup_params: ShownTopUpParams | None = None
    add_addon_params: ShownAddonParams | None = None
    pay_invoice_params: ShownInvoiceParams | None = None


class CheckoutSessionResponse(Response):
    """A checkout."""

    id: str
    customer_id: str
    action: CheckoutAction
    checkout_status: CheckoutStatus
    payment_provider: CheckoutPaymentProvider
    amount: DecimalText
    currency: str
    hosted_url: str
    terminal: bool
    stale: bool
    next_poll_after_ms: int
    expires_at: Timestamp
    configuration: ShownConfiguration
    metadata: dict[str, str]
    status: Status
    tenant_id: str
    environment_id: str
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    payment_provider_config: ShownProviderConfig | None = None
    checkout_invoice_id: str | None = None
    checkout_payment_id: str | None = None
    payment: CheckoutPaymentBlock | None = None
    payment_action: PaymentAction | None = None
    provider_result: CheckoutProviderResult | None = None
    result: CheckoutResult | None = None
    entity_creation_result: EntityCreationResult | None = None
    success_url: str | None = None
    failure_url: str | None = None
    cancel_url: str | None = None
    completed_at: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    failure_reason: str | None = None
    idempotency_key: str | None = None
