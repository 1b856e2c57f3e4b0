"""What the test provider remembers. None of it is part of the books."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import Identity, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.payments.providers.interface import ChargeState
from farthing.storage.tables import Base, OfTenant, Scoped, enum_column


class HostedPageKind(StrEnum):
    """What a hosted page is for: paying a link, settling a charge that waits, or saving a method."""

    LINK = "link"
    CHARGE = "charge"
    SETUP = "setup"


class HostedPageState(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class TestCharge(Scoped, Base):
    """A simulated charge; one per idempotency key."""

    __tablename__ = "test_gateway_charges"
    label = "Test charge"

    connection_id: Mapped[str] = mapped_column(String(50))
    key: Mapped[str] = mapped_column(String(255))
    payment_id: Mapped[str] = mapped_column(String(50))
    session_id: Mapped[str | None] = mapped_column(String(50))
    state: Mapped[ChargeState] = mapped_column(enum_column(ChargeState))
    amount: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(String(3))
    refunded: Mapped[Decimal] = mapped_column(default=Decimal(0))
    reason: Mapped[str] = mapped_column(Text, default="")
    code: Mapped[str] = mapped_column(String(50), default="")
    created_at: Mapped[datetime]

    __table_args__ = (
        # the same key is the same charge
        Index("uq_test_gateway_charges_key", "environment_id", "connection_id", "key", unique=True),
        Index("ix_test_gateway_charges_payment", "environment_id", "payment_id"),
    )


class TestRefund(Scoped, Base):
    """Money a simulated charge sent back; one per idempotency key."""

    __tablename__ = "test_gateway_refunds"
    label = "Test refund"

    charge_id: Mapped[str] = mapped_column(String(50))
    key: Mapped[str] = mapped_column(String(255))
    amount: Mapped[Decimal]

    __table_args__ = (Index("uq_test_gateway_refunds_key", "environment_id", "key", unique=True),)


class TestSession(OfTenant, Base):
    """A hosted page. It is found by its unguessable id alone, before anybody knows whose it is, as an API key is."""

    __tablename__ = "test_gateway_sessions"
    label = "Test session"

    environment_id: Mapped[str] = mapped_column(String(50))
    connection_id: Mapped[str] = mapped_column(String(50))
    provider_type: Mapped[str] = mapped_column(String(50))
    key: Mapped[str] = mapped_column(String(255))
    kind: Mapped[HostedPageKind] = mapped_column(enum_column(HostedPageKind))
    state: Mapped[HostedPageState] = mapped_column(enum_column(HostedPageState), default=HostedPageState.OPEN)
    payment_id: Mapped[str | None] = mapped_column(String(50))
    customer_id: Mapped[str | None] = mapped_column(String(50))
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    charge_id: Mapped[str | None] = mapped_column(String(50))
    save_method: Mapped[bool] = mapped_column(default=False)
    make_default: Mapped[bool] = mapped_column(default=False)
    success_url: Mapped[str | None] = mapped_column(Text)
    cancel_url: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        # the same key is the same page
        Index("uq_test_gateway_sessions_key", "environment_id", "connection_id", "key", unique=True),
    )


class TestMethod(Scoped, Base):
    """A saved method; `behaviour` is the well-known method it acts like."""

    __tablename__ = "test_gateway_methods"
    label = "Test method"

    connection_id: Mapped[str] = mapped_column(String(50))
    customer_id: Mapped[str] = mapped_column(String(50))
    behaviour: Mapped[str] = mapped_column(String(50))
    is_default: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_test_gateway_methods_customer", "environment_id", "connection_id", "customer_id"),
        Index(
            "uq_test_gateway_methods_default",
            "environment_id",
            "connection_id",
            "customer_id",
            unique=True,
            postgresql_where=text("is_default"),
        ),
    )


class TestEvent(Scoped, Base):
    """A webhook that was made; one without `delivered_at` waits to be delivered."""

    __tablename__ = "test_gateway_events"
    label = "Test event"

    session_id: Mapped[str] = mapped_column(String(50))
    sequence: Mapped[int] = mapped_column(Identity())
    """Order of making; ids of the same millisecond do not tell."""
    type: Mapped[str] = mapped_column(String(50))
    body: Mapped[str] = mapped_column(Text)
    delivered_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_test_gateway_events_session", "environment_id", "session_id", "sequence"),)
