"""Tables of corrections of invoices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.money import ZERO
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Exact, Quantity, Scoped, Tracked, enum_column, lower_case


class CorrectionResolution(StrEnum):
    """How a difference is made good: a credit note now, or what the next invoice takes off and charges."""

    CREDIT_NOTE = "credit_note"
    NEXT_INVOICE = "next_invoice"


class CorrectionDirection(StrEnum):
    """Whether a line was taken back, or is left to the next invoice to charge."""

    CREDIT = "credit"
    CHARGE = "charge"


class InvoiceCorrection(Scoped, Tracked, Base):
    """One correction of an invoice: what it took back, net and tax, in `currency`, which is the invoice's.

    Late lines may stand on invoices in another currency; what it took back of these is on its lines alone.
    """

    __tablename__ = "invoice_corrections"
    label = "Correction"
    audit = Audited("invoice_correction", named_by=(), named_after=("invoice_id",))

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoices.id"))
    subscription_id: Mapped[str] = mapped_column(String(50))
    customer_id: Mapped[str] = mapped_column(String(50))
    currency: Mapped[str] = mapped_column(String(3))
    resolution: Mapped[CorrectionResolution] = mapped_column(enum_column(CorrectionResolution))
    state_hash: Mapped[str] = mapped_column(String(64))
    """What the usage of all lines was: the same state again is the same correction."""
    net_amount: Mapped[Decimal] = mapped_column(default=ZERO)
    tax_amount: Mapped[Decimal] = mapped_column(default=ZERO)

    __table_args__ = (
        CheckConstraint("net_amount >= 0 AND tax_amount >= 0", name="taken_back"),
        lower_case(),
        # the corrections of an invoice, in their order
        Index("ix_invoice_corrections_invoice", "environment_id", "invoice_id", "created_at", "id"),
    )


class InvoiceCorrectionLine(Scoped, Tracked, Base):
    """What a correction does about one line: `amount`, before discounts, below 0 where it took that back.

    `invoice_line_item_id` on `invoice_id` is what was taken back of: the usage line, a late line of it, or the overage
    of all lines under a commitment over several periods.
    """

    __tablename__ = "invoice_correction_lines"
    label = "Correction line"

    correction_id: Mapped[str] = mapped_column(String(50), ForeignKey("invoice_corrections.id"))
    invoice_id: Mapped[str] = mapped_column(String(50))
    invoice_line_item_id: Mapped[str] = mapped_column(String(50))
    usage_line_id: Mapped[str] = mapped_column(String(50))
    """The usage line whose period it is about."""
    subscription_id: Mapped[str] = mapped_column(String(50))
    """The subscription that is invoiced."""
    subscription_line_item_id: Mapped[str] = mapped_column(String(50))
    period_start: Mapped[datetime]
    direction: Mapped[CorrectionDirection] = mapped_column(enum_column(CorrectionDirection))
    amount: Mapped[Decimal]
    quantity: Mapped[Decimal] = mapped_column(Quantity, default=ZERO)
    usage: Mapped[Decimal] = mapped_column(Quantity, default=ZERO)
    commitment_base: Mapped[Decimal | None] = mapped_column(Exact)
    """How much more was used of a commitment over several periods, at its cost before any factor; below 0 for less."""
    net_amount: Mapped[Decimal] = mapped_column(default=ZERO)
    tax_amount: Mapped[Decimal] = mapped_column(default=ZERO)

    __table_args__ = (
        CheckConstraint(
            "CASE direction WHEN 'credit' THEN amount < 0 AND net_amount >= 0 AND tax_amount >= 0 "
            "ELSE amount > 0 AND net_amount = 0 AND tax_amount = 0 END",
            name="sides",
        ),
        # what is left to the next invoice counts once that charges it
        CheckConstraint("direction = 'credit' OR commitment_base IS NULL", name="used_when_taken_back"),
        # the lines of a correction
        Index("ix_invoice_correction_lines_correction", "correction_id"),
        # the account of an item and period
        Index("ix_invoice_correction_lines_item", "environment_id", "subscription_line_item_id", "period_start"),
        # what the next invoice of a subscription is to charge
        Index(
            "ix_invoice_correction_lines_charged",
            "environment_id",
            "subscription_id",
            postgresql_where=text("direction = 'charge'"),
        ),
    )
