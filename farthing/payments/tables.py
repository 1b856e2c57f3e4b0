"""Tables of payments and of the connections they go through."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.invoices.receivable import PaymentStatus
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class DestinationType(StrEnum):
    """What a payment pays."""

    INVOICE = "INVOICE"
    CUSTOMER = "CUSTOMER"


class PaymentMethodType(StrEnum):
    CARD = "CARD"
    ACH = "ACH"
    OFFLINE = "OFFLINE"
    CREDITS = "CREDITS"
    PAYMENT_LINK = "PAYMENT_LINK"
    UPI = "UPI"


class Gateway(StrEnum):
    """Providers that can collect money."""

    STRIPE = "stripe"
    RAZORPAY = "razorpay"
    NOMOD = "nomod"
    MOYASAR = "moyasar"
    PADDLE = "paddle"
    WHOP = "whop"
    CHARGEBEE = "chargebee"


class ProviderType(StrEnum):
    """Systems an environment can be connected to."""

    FLEXPRICE = "flexprice"
    STRIPE = "stripe"
    S3 = "s3"
    HUBSPOT = "hubspot"
    RAZORPAY = "razorpay"
    CHARGEBEE = "chargebee"
    QUICKBOOKS = "quickbooks"
    ZOHO_BOOKS = "zoho_books"
    NOMOD = "nomod"
    MOYASAR = "moyasar"
    PADDLE = "paddle"
    WHOP = "whop"
    TABS = "tabs"
    AWS_MARKETPLACE = "aws_marketplace"
    GCP_MARKETPLACE = "gcp_marketplace"
    AZURE_MARKETPLACE = "azure_marketplace"
    LOCAL = "local"
    """A folder of the deployment, for exports."""


class Payment(Scoped, Tracked, Base):
    """One intent to move `amount`, in `currency`'s major unit, towards an invoice or a customer."""

    __tablename__ = "payments"
    label = "Payment"
    audit = Audited(
        "payment",
        named_by=(),
        named_after=("destination_id",),
        secret=frozenset({"payment_url"}),
        bookkeeping=frozenset(
            {
                "fingerprint",
                "derived_key",
                "processing_since",
                "success_recorded_at",
                "withdrawal_due",
                "invoice_version",
                "gateway_metadata",
                "checkout_session_id",
            }
        ),
    )

    idempotency_key: Mapped[str] = mapped_column(String(100))
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Hash of what is paid, how much and how: two payments with the same one are told apart by time alone."""
    derived_key: Mapped[bool] = mapped_column(default=False)
    """Whether the key was derived from the fingerprint rather than chosen by a caller."""
    destination_type: Mapped[DestinationType] = mapped_column(enum_column(DestinationType))
    destination_id: Mapped[str] = mapped_column(String(50))
    payment_method_type: Mapped[PaymentMethodType] = mapped_column(enum_column(PaymentMethodType))
    payment_method_id: Mapped[str] = mapped_column(String(255), default="")
    checkout_session_id: Mapped[str | None] = mapped_column(String(50))
    """The checkout that it pays, whose session decides what its success leads to."""
    amount: Mapped[Decimal]
    asked_amount: Mapped[Decimal]
    """What was asked for; `amount` is what the provider captured, once it did."""
    currency: Mapped[str] = mapped_column(String(3))
    payment_status: Mapped[PaymentStatus] = mapped_column(enum_column(PaymentStatus))
    track_attempts: Mapped[bool] = mapped_column(default=True)
    payment_gateway: Mapped[str | None] = mapped_column(String(50))
    gateway_payment_id: Mapped[str | None] = mapped_column(String(255))
    gateway_tracking_id: Mapped[str | None] = mapped_column(String(255))
    gateway_metadata: Mapped[dict[str, str]] = mapped_column(default=dict)
    payment_url: Mapped[str | None] = mapped_column(Text)
    success_url: Mapped[str | None] = mapped_column(Text)
    cancel_url: Mapped[str | None] = mapped_column(Text)
    save_card_and_make_default: Mapped[bool] = mapped_column(default=False)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    error_message: Mapped[str | None] = mapped_column(Text)
    refunded_amount: Mapped[Decimal] = mapped_column(default=Decimal(0))
    """How much of it has gone back by the way it came; the invoice does not change by it."""
    withdrawal_due: Mapped[bool] = mapped_column(default=False)
    """Whether its hosted page must still be closed."""
    processing_since: Mapped[datetime | None]
    """When its provider was last asked to charge, or how the page stands on which it waits for its payer."""
    succeeded_at: Mapped[datetime | None]
    success_recorded_at: Mapped[datetime | None]
    """When it was counted as paid, by real time also where a test clock stands still."""
    invoice_version: Mapped[int | None]
    """The version of its invoice right after it was counted: with any other, something else has changed it since."""
    failed_at: Mapped[datetime | None]
    refunded_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("refunded_amount >= 0", name="refunds_not_negative"),
        lower_case(),
        # a key makes one payment; a deleted one frees it
        Index(
            "uq_payments_idempotency_key",
            "environment_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # a capture belongs to one payment, whether webhook, poll or caller reports it
        Index(
            "uq_payments_gateway_payment",
            "environment_id",
            "payment_gateway",
            "gateway_payment_id",
            unique=True,
            postgresql_where=text("gateway_payment_id IS NOT NULL"),
            postgresql_nulls_not_distinct=True,
        ),
        # the payments of an invoice: what is reserved on it, what to withdraw when it is voided
        Index("ix_payments_destination", "environment_id", "destination_id", "payment_status"),
        # which ordinal the next payment of the same kind takes
        Index("ix_payments_fingerprint", "environment_id", "fingerprint", postgresql_where=text("derived_key")),
        # a report that only knows the session it was paid in
        Index(
            "ix_payments_tracking",
            "environment_id",
            "payment_gateway",
            "gateway_tracking_id",
            postgresql_where=text("gateway_tracking_id IS NOT NULL"),
        ),
        # the reconciliation duty: in flight for too long, or a page to close
        Index(
            "ix_payments_in_flight",
            "environment_id",
            "processing_since",
            postgresql_where=text("payment_status = 'PROCESSING' AND processing_since IS NOT NULL"),
        ),
        Index(
            "ix_payments_loose_ends",
            "environment_id",
            "id",
            postgresql_where=text("withdrawal_due"),
        ),
        # the payment of a checkout
        Index(
            "ix_payments_checkout",
            "environment_id",
            "checkout_session_id",
            postgresql_where=text("checkout_session_id IS NOT NULL"),
        ),
        # lists: newest first
        Index("ix_payments_newest", "environment_id", "status", "created_at", "id"),
        # what a provider or a bank calls a payment, by its first characters
        Index(
            "ix_payments_gateway_reference",
            "environment_id",
            "gateway_payment_id",
            postgresql_ops={"gateway_payment_id": "text_pattern_ops"},
            postgresql_where=text("gateway_payment_id IS NOT NULL"),
        ),
        # payments of an amount: amounts cannot be looked up beneath a policy, and are read from here
        Index("ix_payments_amount", "environment_id", "amount", "id"),
    )


class PaymentAttempt(Scoped, Tracked, Base):
    """One try at a payment; `payment_status` is how it ended."""

    __tablename__ = "payment_attempts"
    label = "Payment attempt"

    payment_id: Mapped[str] = mapped_column(String(50), ForeignKey("payments.id"))
    attempt_number: Mapped[int]
    payment_status: Mapped[PaymentStatus] = mapped_column(enum_column(PaymentStatus))
    error_message: Mapped[str | None] = mapped_column(Text)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # numbered without gap or repetition; also answers "the attempts of these payments"
        Index("uq_payment_attempts_number", "environment_id", "payment_id", "attempt_number", unique=True),
    )


class Connection(Scoped, Tracked, Base):
    """An environment's account with another system; its credentials are sealed and never leave."""

    __tablename__ = "connections"
    label = "Connection"
    audit = Audited("connection", secret=frozenset({"credentials"}), bookkeeping=frozenset({"credentials_key_id"}))

    name: Mapped[str] = mapped_column(String(255))
    provider_type: Mapped[ProviderType] = mapped_column(enum_column(ProviderType))
    credentials: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """AES-256-GCM; see `credentials`. Empty once the connection is deleted."""
    credentials_key_id: Mapped[str] = mapped_column(String(16), default="")
    """Which master key sealed them."""
    sync_config: Mapped[dict[str, Any] | None]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one account per system and environment; exports may go to several buckets and folders
        Index(
            "uq_connections_provider",
            "environment_id",
            "provider_type",
            unique=True,
            postgresql_where=text("status = 'published' AND provider_type NOT IN ('s3', 'local')"),
        ),
        Index("ix_connections_newest", "environment_id", "status", "created_at", "id"),
    )


class ProviderEvent(Scoped, Base):
    """An event a provider reported; each takes effect once, in the transaction that stores it."""

    __tablename__ = "provider_events"
    label = "Provider event"

    provider: Mapped[str] = mapped_column(String(50))
    event_id: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(50))
    payment_id: Mapped[str | None] = mapped_column(String(50))
    body: Mapped[str] = mapped_column(Text)
    """As received, for disputes."""
    received_at: Mapped[datetime]

    __table_args__ = (Index("uq_provider_events_event", "environment_id", "provider", "event_id", unique=True),)
