"""The table of refunds."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.money import ZERO
from farthing.core.states import StateMachine
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class RefundReason(StrEnum):
    DUPLICATE = "DUPLICATE"
    FRAUDULENT = "FRAUDULENT"
    REQUESTED_BY_CUSTOMER = "REQUESTED_BY_CUSTOMER"
    ORDER_CHANGE = "ORDER_CHANGE"
    SERVICE_ISSUE = "SERVICE_ISSUE"
    OTHER = "OTHER"


class RefundDestination(StrEnum):
    """Where the money goes: back through the provider, into a wallet, or along a way outside of the system."""

    GATEWAY = "GATEWAY"
    WALLET = "WALLET"
    OUT_OF_BAND = "OUT_OF_BAND"


class RefundTarget(StrEnum):
    """Where a caller wants money to go."""

    PREPAID_WALLET = "PREPAID_WALLET"
    BACK_TO_SOURCE = "BACK_TO_SOURCE"


REFUND = StateMachine(
    "refund",
    {
        RefundStatus.PENDING: (
            RefundStatus.PROCESSING,
            RefundStatus.SUCCEEDED,
            RefundStatus.FAILED,
            RefundStatus.CANCELLED,
        ),
        # the provider may be asked again
        RefundStatus.PROCESSING: (
            RefundStatus.PROCESSING,
            RefundStatus.SUCCEEDED,
            RefundStatus.FAILED,
            RefundStatus.CANCELLED,
        ),
        # what a provider could not send back goes into the customer's wallet
        RefundStatus.FAILED: (RefundStatus.SUCCEEDED,),
        # what a provider had sent came back to it
        RefundStatus.SUCCEEDED: (RefundStatus.FAILED,),
    },
)
"""What becomes of a refund.

Rule: docs/rules/credit-notes.md#states-of-a-refund
"""

UNDERWAY = (RefundStatus.PENDING, RefundStatus.PROCESSING)
"""States in which the money may still go back."""


class RefundRecord(Scoped, Tracked, Base):
    """One amount on its way back, in `currency`'s major unit, and how far it has come."""

    __tablename__ = "refunds"
    label = "Refund"
    audit = Audited(
        "refund", named_by=(), named_after=("invoice_id",), bookkeeping=frozenset({"sent_at", "gateway_metadata"})
    )

    customer_id: Mapped[str] = mapped_column(String(50))
    invoice_id: Mapped[str | None] = mapped_column(String(50))
    credit_note_id: Mapped[str | None] = mapped_column(String(50))
    payment_id: Mapped[str | None] = mapped_column(String(50))
    """The payment that the money came by; a wallet's credit may stand for several."""
    unapplied_money_id: Mapped[str | None] = mapped_column(String(50))
    """The money of a customer's balance that goes back."""
    reference: Mapped[str | None] = mapped_column(String(255))
    """What the payer can tell the money by, such as the text of a bank transfer."""
    payment_gateway: Mapped[str | None] = mapped_column(String(50))
    gateway_refund_id: Mapped[str | None] = mapped_column(String(255))
    gateway_tracking_id: Mapped[str | None] = mapped_column(String(255))
    gateway_idempotency_token: Mapped[str | None] = mapped_column(String(255))
    """The key that the provider is asked with, however often it is asked."""
    gateway_metadata: Mapped[dict[str, str]] = mapped_column(default=dict)
    amount: Mapped[Decimal]
    settled_amount: Mapped[Decimal] = mapped_column(default=ZERO)
    currency: Mapped[str] = mapped_column(String(3))
    refund_status: Mapped[RefundStatus] = mapped_column(enum_column(RefundStatus))
    refund_reason: Mapped[RefundReason] = mapped_column(enum_column(RefundReason))
    refund_destination: Mapped[RefundDestination] = mapped_column(enum_column(RefundDestination))
    refund_destination_id: Mapped[str | None] = mapped_column(String(50))
    """The wallet, for one that goes into a wallet."""
    attempt: Mapped[int] = mapped_column(default=1)
    failure_reason: Mapped[str | None] = mapped_column(Text)
    idempotency_key: Mapped[str] = mapped_column(String(100))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    initiated_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When the provider was last asked."""
    succeeded_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("amount > 0 AND attempt > 0", name="amount_positive"),
        CheckConstraint(
            "settled_amount = CASE refund_status WHEN 'SUCCEEDED' THEN amount ELSE 0 END", name="settled_when_succeeded"
        ),
        CheckConstraint(
            "refund_destination <> 'GATEWAY' "
            "OR (payment_id IS NOT NULL AND gateway_idempotency_token IS NOT NULL AND payment_gateway IS NOT NULL)",
            name="gateway_named",
        ),
        CheckConstraint(
            "unapplied_money_id IS NULL OR (invoice_id IS NULL AND credit_note_id IS NULL "
            "AND refund_destination <> 'WALLET')",
            name="unapplied_money_is_of_no_invoice",
        ),
        lower_case(),
        # one record for one cause, however often it is reported
        Index("uq_refunds_idempotency_key", "environment_id", "idempotency_key", unique=True),
        # what is on its way back from a payment, of an invoice, by a note
        Index("ix_refunds_payment", "environment_id", "payment_id", postgresql_where=text("payment_id IS NOT NULL")),
        Index("ix_refunds_invoice", "environment_id", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
        Index(
            "ix_refunds_credit_note",
            "environment_id",
            "credit_note_id",
            postgresql_where=text("credit_note_id IS NOT NULL"),
        ),
        # what went back of a customer's balance
        Index(
            "ix_refunds_unapplied_money",
            "environment_id",
            "unapplied_money_id",
            postgresql_where=text("unapplied_money_id IS NOT NULL"),
        ),
        # the reconciliation duty: what waits for a provider
        Index(
            "ix_refunds_underway",
            "environment_id",
            "id",
            postgresql_where=text("refund_status IN ('PENDING', 'PROCESSING')"),
        ),
        # lists: newest first
        Index("ix_refunds_newest", "environment_id", "status", "created_at", "id"),
    )
