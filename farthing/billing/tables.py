"""Tables of billing: what was settled in mid-period, and how far a test clock has come."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index, Numeric, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, lower_case


class ProrationSettlement(Scoped, Tracked, Base):
    """What one change of one line item credited and charged for the rest of its service window.

    `credit` is what was given back for what was invoiced before; later credits of the same item and window are at most
    what is left. Where it went: on `invoice_id` it reduced charges; `credited_to_payer` was owed to the payer instead,
    and `wallet_transaction_id` says that it was paid out.
    """

    __tablename__ = "proration_settlements"
    label = "Proration settlement"

    subscription_id: Mapped[str] = mapped_column(String(50))
    subscription_line_item_id: Mapped[str] = mapped_column(String(50))
    customer_id: Mapped[str] = mapped_column(String(50))
    """Who pays, and is credited."""
    action: Mapped[str] = mapped_column(String(20))
    settlement_key: Mapped[str] = mapped_column(String(100))
    effective_at: Mapped[datetime]
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    currency: Mapped[str] = mapped_column(String(3))
    credit: Mapped[Decimal] = mapped_column(default=Decimal(0))
    charge: Mapped[Decimal] = mapped_column(default=Decimal(0))
    discount: Mapped[Decimal] = mapped_column(default=Decimal(0))
    """What coupons took off the charge."""
    returned_discounts: Mapped[list[Any]] = mapped_column(default=list)
    """What the credit gave back to the budgets of fixed coupons; text decimals."""
    charged_seconds: Mapped[Decimal] = mapped_column(Numeric(20, 6), default=Decimal(0))
    """The service time that the charge pays for."""
    credited_to_payer: Mapped[Decimal] = mapped_column(default=Decimal(0))
    paid_out: Mapped[Decimal | None]
    """What the payer was given for `credited_to_payer`, where that stood on converted invoices: in their currency."""
    tax_credited: Mapped[Decimal] = mapped_column(default=Decimal(0))
    """The tax on `credited_to_payer`, which its payer was given back with it, in the currency that it was paid in."""
    invoice_id: Mapped[str | None] = mapped_column(String(50))
    wallet_transaction_id: Mapped[str | None] = mapped_column(String(50))

    __table_args__ = (
        # the same change is settled once, whatever is retried
        Index(
            "uq_proration_settlements_key",
            "environment_id",
            "settlement_key",
            "subscription_line_item_id",
            "action",
            unique=True,
        ),
        # what was credited for an item before
        Index("ix_proration_settlements_item", "environment_id", "subscription_line_item_id", "window_start"),
        CheckConstraint(
            "credit >= 0 AND charge >= 0 AND credited_to_payer >= 0 AND tax_credited >= 0 "
            "AND discount BETWEEN 0 AND charge",
            name="amounts_not_negative",
        ),
        CheckConstraint("paid_out >= 0", name="paid_out_not_negative"),
        lower_case(),
    )


class ClockAdvance(Scoped, Tracked, Base):
    """One move of an environment's test clock: from where to where, how far it has come, and what went wrong."""

    __tablename__ = "clock_advances"
    label = "Clock advance"
    audit = Audited("clock_advance", named_by=(), bookkeeping=frozenset({"reached", "finished_at", "counts", "error"}))

    started_from: Mapped[datetime | None]
    target: Mapped[datetime]
    reached: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (
        # the moves of an environment, newest first
        Index("ix_clock_advances_newest", "environment_id", "created_at", "id"),
    )
