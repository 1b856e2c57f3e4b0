"""The table of unapplied money."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.money import EXACT, ZERO
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class UnappliedSource(StrEnum):
    """How money came to stand on no invoice: recorded without one, moved off one, or given by a credit note."""

    PAYMENT = "PAYMENT"
    OVERPAYMENT = "OVERPAYMENT"
    CREDIT_NOTE = "CREDIT_NOTE"


HAS_REST = "amount > allocated + withdrawn"
"""Something of the money is left to be allocated."""


class UnappliedMoney(Scoped, Tracked, Base):
    """Money of a customer from one source, in `currency`'s major unit."""

    __tablename__ = "unapplied_money"
    label = "Unapplied money"
    audit = Audited(
        "unapplied_money",
        named_by=(),
        named_after=("invoice_id",),
        part_of=("payment_id", "invoice_id", "credit_note_id"),
    )

    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    currency: Mapped[str] = mapped_column(String(3))
    source: Mapped[UnappliedSource] = mapped_column(enum_column(UnappliedSource))
    payment_id: Mapped[str | None] = mapped_column(String(50))
    invoice_id: Mapped[str | None] = mapped_column(String(50))
    """The invoice that it was moved off, or that its credit note corrects."""
    credit_note_id: Mapped[str | None] = mapped_column(String(50))
    amount: Mapped[Decimal]
    allocated: Mapped[Decimal] = mapped_column(default=ZERO)
    withdrawn: Mapped[Decimal] = mapped_column(default=ZERO)
    """What went back to the payer."""
    for_next_invoice: Mapped[bool] = mapped_column(default=False)
    """Whether the customer's next invoices take it by themselves."""

    __table_args__ = (
        CheckConstraint(
            "amount > 0 AND allocated >= 0 AND withdrawn >= 0 AND allocated + withdrawn <= amount", name="within_amount"
        ),
        CheckConstraint("(source = 'CREDIT_NOTE') = (credit_note_id IS NOT NULL)", name="note_named"),
        CheckConstraint("(source <> 'CREDIT_NOTE') = (payment_id IS NOT NULL)", name="payment_named"),
        CheckConstraint("(source = 'PAYMENT') = (invoice_id IS NULL)", name="invoice_named"),
        lower_case(),
        # a payment without an invoice, and a note, each put their money here once
        Index(
            "uq_unapplied_money_payment",
            "environment_id",
            "payment_id",
            unique=True,
            postgresql_where=text("source = 'PAYMENT'"),
        ),
        Index(
            "uq_unapplied_money_credit_note",
            "environment_id",
            "credit_note_id",
            unique=True,
            postgresql_where=text("source = 'CREDIT_NOTE'"),
        ),
        # what was moved off by a payment
        Index("ix_unapplied_money_payment", "environment_id", "payment_id"),
        # the balance of a customer, oldest first
        Index(
            "ix_unapplied_money_left",
            "environment_id",
            "customer_id",
            "currency",
            "created_at",
            "id",
            postgresql_where=text(HAS_REST),
        ),
    )

    @property
    def left(self) -> Decimal:
        """What is left to be allocated."""
        return EXACT.subtract(self.amount, EXACT.add(self.allocated, self.withdrawn))
