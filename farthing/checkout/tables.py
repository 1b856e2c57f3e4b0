"""The table of checkout sessions, and the moves between their states."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.checkout import CheckoutAction, CheckoutPaymentProvider, CheckoutStatus, EntityCreationStatus
from farthing.core.states import StateMachine
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case

CHECKOUT = StateMachine(
    "checkout session",
    {
        # a page may be paid before anybody has noted that it exists
        CheckoutStatus.INITIATED: (
            CheckoutStatus.PENDING,
            CheckoutStatus.COMPLETED,
            CheckoutStatus.FAILED,
            CheckoutStatus.EXPIRED,
        ),
        CheckoutStatus.PENDING: (CheckoutStatus.COMPLETED, CheckoutStatus.FAILED, CheckoutStatus.EXPIRED),
    },
)
"""What becomes of a session.

Rule: docs/rules/checkout.md#states
"""

OPEN = frozenset({CheckoutStatus.INITIATED, CheckoutStatus.PENDING})
IS_OPEN = "checkout_status IN ('initiated', 'pending')"


class CheckoutSession(Scoped, Tracked, Base):
    """One checkout; `amount` is what its payer was asked for, in `currency`'s major unit."""

    __tablename__ = "checkout_sessions"
    label = "Checkout session"
    audit = Audited(
        "checkout_session",
        named_by=(),
        named_after=("invoice_id",),
        secret=frozenset({"page_key"}),
        bookkeeping=frozenset({"heard_at", "configuration", "provider_expires_at"}),
    )

    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    action: Mapped[CheckoutAction] = mapped_column(enum_column(CheckoutAction))
    checkout_status: Mapped[CheckoutStatus] = mapped_column(
        enum_column(CheckoutStatus), default=CheckoutStatus.INITIATED
    )
    subject_id: Mapped[str] = mapped_column(String(50))
    """What one checkout at a time may be about: a subscription, a wallet or an invoice."""
    subscription_id: Mapped[str | None] = mapped_column(String(50))
    """The subscription that it makes or changes; its row is locked before the invoice's."""
    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    holds_draft: Mapped[bool]
    """Whether the invoice is a draft made for this checkout, which is voided when nobody pays."""
    payment_id: Mapped[str] = mapped_column(String(50), ForeignKey("payments.id"))
    amount: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(String(3))
    configuration: Mapped[dict[str, Any]]
    """What was asked for, as it is done again when it is paid; see `purposes`."""
    payment_provider: Mapped[CheckoutPaymentProvider] = mapped_column(enum_column(CheckoutPaymentProvider))
    payment_provider_config: Mapped[dict[str, Any] | None]
    success_url: Mapped[str | None] = mapped_column(Text)
    failure_url: Mapped[str | None] = mapped_column(Text)
    cancel_url: Mapped[str | None] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    page_key: Mapped[str] = mapped_column(String(64))
    """What nobody can guess in the address of its page."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    opened_at: Mapped[datetime]
    """As of when what was asked for is done."""
    expires_at: Mapped[datetime]
    provider_expires_at: Mapped[datetime | None]
    """When the provider closes its page, in real time."""
    heard_at: Mapped[datetime]
    """The last word of the provider."""
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    failure_reason: Mapped[str | None] = mapped_column(Text)
    entity_id: Mapped[str] = mapped_column(String(50))
    """What is paid for: the subscription, addon association, wallet transaction or invoice."""
    entity_status: Mapped[EntityCreationStatus | None] = mapped_column(enum_column(EntityCreationStatus))

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("(checkout_status = 'completed') = (completed_at IS NOT NULL)", name="completed_at_its_end"),
        CheckConstraint(
            "entity_status <> 'created' OR checkout_status = 'completed'", name="created_only_when_completed"
        ),
        lower_case(),
        # one checkout at a time is about a subscription, a wallet or an invoice
        Index(
            "uq_checkout_sessions_subject", "environment_id", "subject_id", unique=True, postgresql_where=text(IS_OPEN)
        ),
        # a key may be used again once its session has ended
        Index(
            "uq_checkout_sessions_key",
            "environment_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text(f"idempotency_key IS NOT NULL AND {IS_OPEN}"),
        ),
        # the session of a payment, and of a page
        Index("uq_checkout_sessions_payment", "environment_id", "payment_id", unique=True),
        Index("uq_checkout_sessions_page", "environment_id", "page_key", unique=True),
        # the session of an invoice
        Index("ix_checkout_sessions_invoice", "environment_id", "invoice_id"),
        # later sessions about the same
        Index("ix_checkout_sessions_subject", "environment_id", "subject_id", "id"),
        # the duty of expiry, and where a test clock stops
        Index("ix_checkout_sessions_due", "environment_id", "expires_at", "id", postgresql_where=text(IS_OPEN)),
        # lists: newest first; those of a customer
        Index("ix_checkout_sessions_newest", "environment_id", "created_at", "id"),
        Index("ix_checkout_sessions_customer", "environment_id", "customer_id", "created_at", "id"),
    )
