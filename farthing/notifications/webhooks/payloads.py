"""The bodies of events as receivers read them; the OpenAPI document describes webhooks by these.

The packages whose entities change write the bodies, and tests hold what they write against these shapes.
Rule: docs/rules/recorded-events.md#bodies
"""

from __future__ import annotations

from typing import Any

from farthing.catalogue.entitlements.enums import EntitlementOwner, UsageResetPeriod
from farthing.catalogue.prices.enums import BillingCadence
from farthing.catalogue.products.alerts import AlertState
from farthing.catalogue.products.enums import FeatureType
from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.schemas import InvoiceResponse
from farthing.notifications.webhooks.tables import DisabledReason
from farthing.payments.tables import DestinationType, PaymentMethodType
from farthing.subscriptions.enums import PauseStatus, SubscriptionStatus, SubscriptionType


class WebhookPayload(Response):
    """What every body holds: the name of the event."""

    event_type: str


class WebhookCustomer(Response):
    id: str
    external_id: str
    environment_id: str
    name: str | None = None
    email: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    address_city: str | None = None
    address_state: str | None = None
    address_postal_code: str | None = None
    address_country: str | None = None
    timezone: str | None = None
    metadata: dict[str, str] | None = None


class WebhookFeature(Response):
    id: str
    name: str
    lookup_key: str
    type: FeatureType
    description: str | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    meter_id: str | None = None
    group_id: str | None = None
    metadata: dict[str, str] | None = None


class WebhookEntitlement(Response):
    id: str
    entity_type: EntitlementOwner
    entity_id: str
    feature_id: str
    feature_type: FeatureType
    is_enabled: bool
    is_soft_limit: bool
    usage_limit: int | None = None
    usage_reset_period: UsageResetPeriod | None = None
    static_value: str | None = None


class WebhookSubscription(Response):
    id: str
    customer_id: str
    plan_id: str
    subscription_status: SubscriptionStatus
    currency: str
    start_date: Timestamp
    current_period_start: Timestamp
    current_period_end: Timestamp
    cancel_at_period_end: bool
    billing_cadence: BillingCadence
    billing_period: str
    billing_period_count: int
    pause_status: PauseStatus
    subscription_type: SubscriptionType
    lookup_key: str | None = None
    end_date: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    cancel_at: Timestamp | None = None
    trial_start: Timestamp | None = None
    trial_end: Timestamp | None = None
    parent_subscription_id: str | None = None
    metadata: dict[str, str] | None = None
    customer: WebhookCustomer | None = None


class WebhookPhase(Response):
    id: str
    subscription_id: str
    start_date: Timestamp
    end_date: Timestamp | None = None


class WebhookInvoiceLine(Response):
    id: str
    amount: DecimalText
    quantity: DecimalText
    display_name: str | None = None
    plan_display_name: str | None = None
    price_id: str | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None


class WebhookInvoice(Response):
    """The short form of an invoice."""

    id: str
    customer_id: str
    environment_id: str
    invoice_type: InvoiceType
    invoice_status: InvoiceStatus
    payment_status: PaymentStatus
    currency: str
    amount_due: DecimalText
    amount_paid: DecimalText
    amount_remaining: DecimalText
    total: DecimalText
    subtotal: DecimalText
    subscription_id: str | None = None
    invoice_number: str | None = None
    due_date: Timestamp | None = None
    paid_at: Timestamp | None = None
    voided_at: Timestamp | None = None
    finalized_at: Timestamp | None = None
    period_start: Timestamp | None = None
    period_end: Timestamp | None = None
    invoice_pdf_url: str | None = None
    billing_reason: str | None = None
    subscription: WebhookSubscription | None = None
    customer: WebhookCustomer | None = None
    line_items: list[WebhookInvoiceLine] | None = None
    metadata: dict[str, str] | None = None


class WebhookPayment(Response):
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


class WebhookRefund(Response):
    """`payment_id` is missing for what went into a wallet, `invoice_id` for a payment that had none."""

    id: str
    customer_id: str
    amount: DecimalText
    currency: str
    refund_status: str
    refund_reason: str
    refund_destination: str
    attempt: int
    initiated_at: Timestamp
    payment_id: str | None = None
    invoice_id: str | None = None
    credit_note_id: str | None = None
    unapplied_money_id: str | None = None
    reference: str | None = None
    settled_amount: DecimalText | None = None
    refund_destination_id: str | None = None
    payment_gateway: str | None = None
    gateway_refund_id: str | None = None
    failure_reason: str | None = None
    succeeded_at: Timestamp | None = None
    failed_at: Timestamp | None = None
    metadata: dict[str, str] | None = None


class WebhookPaymentMethod(Response):
    id: str
    customer_id: str
    payment_gateway: str
    expires_at: Timestamp


class WebhookCreditNote(Response):
    id: str
    invoice_id: str
    customer_id: str
    credit_note_status: str
    credit_note_type: str
    reason: str
    currency: str
    total_amount: DecimalText
    credit_note_number: str | None = None
    subscription_id: str | None = None
    memo: str | None = None
    voided_at: Timestamp | None = None
    finalized_at: Timestamp | None = None
    metadata: dict[str, str] | None = None


class WebhookWallet(Response):
    id: str
    customer_id: str
    currency: str
    balance: DecimalText
    credit_balance: DecimalText
    wallet_status: str
    wallet_type: str
    conversion_rate: DecimalText
    name: str | None = None


class WebhookWalletTransaction(Response):
    id: str
    wallet_id: str
    customer_id: str
    type: str
    amount: DecimalText
    credit_amount: DecimalText
    credit_balance_before: DecimalText
    credit_balance_after: DecimalText
    transaction_status: str
    reference_type: str
    transaction_reason: str
    currency: str
    reference_id: str | None = None
    description: str | None = None
    expiry_date: Timestamp | None = None
    metadata: dict[str, str] | None = None


class WebhookWalletAlert(Response):
    state: AlertState
    current_balance: DecimalText
    credit_balance: DecimalText
    alert_type: str
    alert_settings: dict[str, Any] | None = None


class WebhookCheckoutSession(Response):
    id: str
    customer_id: str
    action: str
    checkout_status: str
    payment_provider: str
    expires_at: Timestamp
    checkout_invoice_id: str | None = None
    checkout_payment_id: str | None = None
    failure_reason: str | None = None
    completed_at: Timestamp | None = None
    cancelled_at: Timestamp | None = None
    payment_action: dict[str, Any] | None = None


class WebhookRejectedEvent(Response):
    id: str
    event_name: str
    timestamp: Timestamp
    customer_id: str | None = None
    external_customer_id: str | None = None
    source: str | None = None
    properties: dict[str, Any] | None = None


class WebhookDisabledEndpoint(Response):
    id: str
    url: str
    disabled_reason: DisabledReason


class CustomerPayload(WebhookPayload):
    customer: WebhookCustomer


class FeaturePayload(WebhookPayload):
    feature: WebhookFeature


class EntitlementPayload(WebhookPayload):
    entitlement: WebhookEntitlement


class WebhookSchedule(Response):
    """What was planned for a subscription."""

    id: str
    schedule_type: str
    status: str
    scheduled_at: Timestamp
    error_message: str | None = None


class SubscriptionPayload(WebhookPayload):
    subscription: WebhookSubscription
    schedule: WebhookSchedule | None = None


class PhasePayload(WebhookPayload):
    phase: WebhookPhase


class InvoicePayload(WebhookPayload):
    invoice: InvoiceResponse


class InvoiceCommunicationPayload(WebhookPayload):
    invoice: WebhookInvoice


class PaymentPayload(WebhookPayload):
    payment: WebhookPayment


class RefundPayload(WebhookPayload):
    refund: WebhookRefund


class PaymentMethodPayload(WebhookPayload):
    payment_method: WebhookPaymentMethod


class CreditNotePayload(WebhookPayload):
    credit_note: WebhookCreditNote


class WalletPayload(WebhookPayload):
    wallet: WebhookWallet


class WalletAlertPayload(WebhookPayload):
    wallet: WebhookWallet
    alert: WebhookWalletAlert


class WalletBalancePayload(WebhookPayload):
    wallet: WebhookWallet
    real_time_balance: DecimalText
    real_time_credit_balance: DecimalText
    customer: WebhookCustomer | None = None


class WalletTransactionPayload(WebhookPayload):
    transaction: WebhookWalletTransaction


class UpdatedWalletTransactionPayload(WebhookPayload):
    updated_transaction: WebhookWalletTransaction


class CheckoutSessionPayload(WebhookPayload):
    checkout_session: WebhookCheckoutSession


class FeatureBalancePayload(WebhookPayload):
    alert_type: str
    alert_status: AlertState
    feature_id: str
    wallet_id: str
    customer_id: str
    current_balance: DecimalText
    credit_balance: DecimalText


class GrantExhaustedPayload(WebhookPayload):
    subscription_id: str
    customer_id: str
    entitlement_id: str
    entitlement_grant_id: str
    alert_type: str
    alert_status: AlertState
    usage_ratio: DecimalText
    triggered_at: Timestamp


class SpendPayload(WebhookPayload):
    subscription: WebhookSubscription
    alert_type: str
    alert_status: AlertState
    current_spend: DecimalText
    triggered_at: Timestamp
    threshold: DecimalText | None = None
    subscription_line_item_id: str | None = None
    group_id: str | None = None


class RejectedEventPayload(WebhookPayload):
    reason: str
    event: WebhookRejectedEvent


class DisabledEndpointPayload(WebhookPayload):
    webhook_endpoint: WebhookDisabledEndpoint
