"""Tables of what settles an invoice: money that counts as paid on it, and what was lost of it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, Scoped, enum_column


class SettlementKind(StrEnum):
    PAYMENT = "payment"
    MANUAL = "manual"
    AUTO_COMPLETE = "auto_complete"
    ALLOCATION = "allocation"


SINGLE_MARKS = "kind IN ('manual', 'auto_complete')"
"""Settlements of which an invoice has at most one, replaced by the next."""


class PaymentSettlement(Scoped, Base):
    """Money that counts as paid on an invoice; `amount_paid` is the sum of these, always derived again."""

    __tablename__ = "invoice_settlements"
    label = "Invoice settlement"

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    kind: Mapped[SettlementKind] = mapped_column(enum_column(SettlementKind))
    payment_id: Mapped[str | None] = mapped_column(String(50))
    unapplied_money_id: Mapped[str | None] = mapped_column(String(50))
    """The money of the customer's balance that was allocated to the invoice."""
    amount: Mapped[Decimal]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("(kind = 'payment') = (payment_id IS NOT NULL)", name="payment_named"),
        CheckConstraint("(kind = 'allocation') = (unapplied_money_id IS NOT NULL)", name="allocation_named"),
        # a payment settles its invoice once, whoever reports it
        Index(
            "uq_invoice_settlements_payment",
            "environment_id",
            "invoice_id",
            "payment_id",
            unique=True,
            postgresql_where=text("kind = 'payment'"),
        ),
        # there is at most one manual mark
        Index(
            "uq_invoice_settlements_other",
            "environment_id",
            "invoice_id",
            unique=True,
            postgresql_where=text(SINGLE_MARKS),
        ),
        # where the money of a customer's balance went
        Index(
            "ix_invoice_settlements_unapplied_money",
            "environment_id",
            "unapplied_money_id",
            postgresql_where=text("kind = 'allocation'"),
        ),
    )


class WriteOffEntry(Scoped, Base):
    """By how much the loss on an invoice grew, or, where negative, became less: by money, a credit note or an undoing.

    The entries of an invoice add up to its `written_off_amount`, or to nothing where it is not written off.
    """

    __tablename__ = "invoice_write_offs"
    label = "Write-off entry"

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    amount: Mapped[Decimal]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        # what was lost on an invoice, in its order
        Index("ix_invoice_write_offs_invoice", "environment_id", "invoice_id", "created_at"),
        # what was lost in a time
        Index("ix_invoice_write_offs_created", "environment_id", "created_at"),
    )
