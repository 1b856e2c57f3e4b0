"""Tables of what stands on an invoice: its lines, the discounts that coupons took and the taxes that were charged."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Index, Numeric, String, Text, func, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.enums import LineKind, PriceType
from farthing.core.money import EXACT, plain
from farthing.invoices.tables import Invoice
from farthing.storage.tables import Base, Exact, Quantity, Scoped, Tracked, enum_column, lower_case

_ZERO = Decimal(0)


LINE_SOURCES = (
    "source_amount, source_line_item_discount, source_invoice_level_discount, source_prepaid_credits_applied, "
    "source_taxed_credits_applied"
)
"""The columns that hold what a line was before it was converted."""


class InvoiceLineItem(Scoped, Tracked, Base):
    """One charge; `amount` is gross and rounded to the currency. Only published lines count."""

    __tablename__ = "invoice_line_items"
    label = "Invoice line item"

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey(Invoice.id))
    customer_id: Mapped[str] = mapped_column(String(50))
    subscription_id: Mapped[str | None] = mapped_column(String(50))
    subscription_line_item_id: Mapped[str | None] = mapped_column(String(50))
    entity_id: Mapped[str | None] = mapped_column(String(50))
    entity_type: Mapped[str | None] = mapped_column(String(20))
    plan_display_name: Mapped[str | None] = mapped_column(Text)
    display_name: Mapped[str | None] = mapped_column(Text)
    price_id: Mapped[str | None] = mapped_column(String(50))
    price_type: Mapped[PriceType | None] = mapped_column(enum_column(PriceType))
    feature_id: Mapped[str | None] = mapped_column(String(50))
    meter_id: Mapped[str | None] = mapped_column(String(50))
    meter_display_name: Mapped[str | None] = mapped_column(Text)
    price_unit_id: Mapped[str | None] = mapped_column(String(50))
    price_unit: Mapped[str | None] = mapped_column(String(20))
    price_unit_amount: Mapped[Decimal | None]
    currency: Mapped[str] = mapped_column(String(3))
    amount: Mapped[Decimal]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    raw_usage: Mapped[Decimal | None] = mapped_column(Quantity)
    """Usage before allowances, exactly as metered; late usage is measured against it."""
    adjusted_entitlement_quantity: Mapped[Decimal | None] = mapped_column(Quantity)
    line_item_discount: Mapped[Decimal] = mapped_column(default=_ZERO)
    invoice_level_discount: Mapped[Decimal] = mapped_column(default=_ZERO)
    prepaid_credits_applied: Mapped[Decimal] = mapped_column(default=_ZERO)
    taxed_credits_applied: Mapped[Decimal] = mapped_column(default=_ZERO)
    """What of them was taxed when it was bought: no tax is charged on it here."""
    source_amount: Mapped[Decimal | None]
    source_line_item_discount: Mapped[Decimal | None]
    source_invoice_level_discount: Mapped[Decimal | None]
    source_prepaid_credits_applied: Mapped[Decimal | None]
    source_taxed_credits_applied: Mapped[Decimal | None]
    """Its figures before its invoice was converted, in the currency of its charges; NULL where it was not. What the
    line was made of (credits for unused time, commitments, what was invoiced already) stays in that currency."""
    period_start: Mapped[datetime | None]
    period_end: Mapped[datetime | None]
    parent_line_item_id: Mapped[str | None] = mapped_column(String(50))
    """The line this one replaced."""
    kind: Mapped[LineKind | None] = mapped_column(enum_column(LineKind))
    """What billing made it for; None when somebody else did."""
    commitment_base: Mapped[Decimal | None] = mapped_column(Exact)
    """The unrounded cost that counts towards a commitment, before any overage factor."""
    proration_credit: Mapped[Decimal] = mapped_column(default=_ZERO)
    """What a credit for unused time took off the charge; `amount` is what was left."""
    whole_seconds: Mapped[Decimal | None] = mapped_column(Numeric(20, 6))
    """The service time that a fee of billing, or of the system before, pays for; what of it was not consumed is unused.
    None for other lines."""
    already_invoiced: Mapped[Decimal | None]
    """What threshold invoices of the period have charged of it; None when they have charged nothing."""
    late_for_line_id: Mapped[str | None] = mapped_column(String(50))
    """The line of a finished invoice whose usage came late."""
    overage_factor: Mapped[Decimal | None]
    """How many times its base an overage costs."""
    commitment_amount: Mapped[Decimal | None]
    commitment_utilized: Mapped[Decimal | None] = mapped_column(Exact)
    """What was promised, and what of it was used: a true-up charges the difference."""
    commitment_info: Mapped[dict[str, Any] | None]
    unit_code: Mapped[str | None] = mapped_column(String(3))
    """What `quantity` counts, as price or feature said when the invoice became final; NULL where they said nothing."""
    usage_windows: Mapped[dict[str, Any] | None]
    """Which windows of an entitlement's grants were over their quota, and by how much: what the charge follows from."""
    rating: Mapped[dict[str, Any] | None]
    """How the amount came about: the price and tiers it was rated with, as text decimals."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    position: Mapped[int] = mapped_column(default=0)
    """Order on the invoice; ties of a distribution go to the earlier line."""

    __table_args__ = (
        CheckConstraint("amount >= 0 AND quantity >= 0", name="amounts_not_negative"),
        CheckConstraint(
            "line_item_discount >= 0 AND invoice_level_discount >= 0 AND prepaid_credits_applied >= 0 "
            "AND line_item_discount + invoice_level_discount + prepaid_credits_applied <= amount",
            name="reductions_within_amount",
        ),
        CheckConstraint(
            "taxed_credits_applied BETWEEN 0 AND prepaid_credits_applied", name="taxed_credits_within_credits"
        ),
        CheckConstraint(
            "proration_credit >= 0 AND already_invoiced >= 0 AND commitment_base >= 0 AND overage_factor >= 1 "
            "AND whole_seconds >= 0",
            name="origins_not_negative",
        ),
        CheckConstraint(f"num_nonnulls({LINE_SOURCES}) IN (0, 5)", name="converted_wholly"),
        # a late line names the line it is late for, an overage its factor, a true-up its commitment; no other line does
        CheckConstraint("(kind IS NOT DISTINCT FROM 'late_usage') = (late_for_line_id IS NOT NULL)", name="late"),
        CheckConstraint("(kind IS NOT DISTINCT FROM 'overage') = (overage_factor IS NOT NULL)", name="overage"),
        CheckConstraint(
            "CASE WHEN kind = 'true_up' THEN num_nonnulls(commitment_amount, commitment_utilized) = 2 "
            "ELSE num_nonnulls(commitment_amount, commitment_utilized) = 0 END",
            name="true_up",
        ),
        lower_case(),
        Index("ix_invoice_line_items_invoice", "environment_id", "invoice_id", "position", "id"),
        # what a subscription's charge was already invoiced for
        Index(
            "ix_invoice_line_items_subscription_line",
            "environment_id",
            "subscription_line_item_id",
            "period_start",
            postgresql_where=text("subscription_line_item_id IS NOT NULL AND status = 'published'"),
        ),
    )

    @hybrid_property
    def charge_amount(self) -> Decimal:
        """`amount` in the currency of its charges."""
        return self.amount if self.source_amount is None else self.source_amount

    @charge_amount.inplace.expression
    @classmethod
    def _charge_amount(cls) -> ColumnElement[Decimal]:
        return func.coalesce(cls.source_amount, cls.amount)

    @property
    def charge_discount(self) -> Decimal:
        """What coupons took off it, in the currency of its charges."""
        if self.source_line_item_discount is None or self.source_invoice_level_discount is None:
            return EXACT.add(self.line_item_discount, self.invoice_level_discount)
        return EXACT.add(self.source_line_item_discount, self.source_invoice_level_discount)

    @property
    def shown_metadata(self) -> dict[str, str]:
        """The line's metadata under what its columns say, which nobody can overwrite."""
        return {**self.meta, **self.composed_metadata()}

    def composed_metadata(self) -> dict[str, str]:
        """The metadata keys that the wire shows for columns."""
        return line_entries(
            plain(self.proration_credit) if self.proration_credit else None,
            None if self.already_invoiced is None else plain(self.already_invoiced),
            self.late_for_line_id,
            None if self.overage_factor is None else plain(self.overage_factor),
            None if self.commitment_amount is None else plain(self.commitment_amount),
            None if self.commitment_utilized is None else plain(self.commitment_utilized),
        )


def line_entries(
    proration_credit: str | None,
    already_invoiced: str | None,
    late_for_line_id: str | None,
    overage_factor: str | None,
    commitment_amount: str | None,
    commitment_utilized: str | None,
) -> dict[str, str]:
    """The metadata of a line that stands in its columns; decimals as they travel, None for what it has not."""
    composed = {}
    if proration_credit is not None:
        composed["proration_credit"] = proration_credit
    if already_invoiced is not None:
        composed["already_invoiced"] = already_invoiced
    if late_for_line_id is not None:
        composed |= {"late_usage": "true", "late_for_line": late_for_line_id}
    if overage_factor is not None:
        composed |= {"is_overage": "true", "overage_factor": overage_factor}
    if commitment_amount is not None and commitment_utilized is not None:
        composed["is_commitment_trueup"] = "true"
        composed["commitment_amount"] = commitment_amount
        composed["commitment_utilized"] = commitment_utilized
    return composed


class CouponApplicationRow(Scoped, Tracked, Base):
    """A discount that was taken: by which coupon, on which line or on the invoice, from what to what."""

    __tablename__ = "coupon_applications"
    label = "Coupon application"

    invoice_id: Mapped[str] = mapped_column(String(50), ForeignKey(Invoice.id))
    invoice_line_item_id: Mapped[str | None] = mapped_column(String(50))
    subscription_id: Mapped[str | None] = mapped_column(String(50))
    coupon_id: Mapped[str] = mapped_column(String(50))
    coupon_association_id: Mapped[str | None] = mapped_column(String(50))
    period_start: Mapped[datetime | None]
    """The start of the service period whose budget it draws on; None where no budget limits it."""
    applied_at: Mapped[datetime]
    currency: Mapped[str] = mapped_column(String(3))
    discount_type: Mapped[str] = mapped_column(String(20))
    discount_percentage: Mapped[Decimal | None]
    original_price: Mapped[Decimal]
    discounted_amount: Mapped[Decimal]
    source_discounted_amount: Mapped[Decimal | None]
    """What it took in the currency of the charges, where the invoice was converted."""
    final_price: Mapped[Decimal]
    coupon_snapshot: Mapped[dict[str, Any]] = mapped_column(default=dict)
    position: Mapped[int] = mapped_column(default=0)
    """Order in which the discounts were taken."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        CheckConstraint("discounted_amount >= 0", name="amount_not_negative"),
        CheckConstraint("source_discounted_amount >= 0", name="source_not_negative"),
        Index("ix_coupon_applications_invoice", "environment_id", "invoice_id"),
        # what an attached coupon has taken, on all invoices
        Index(
            "ix_coupon_applications_association",
            "environment_id",
            "coupon_association_id",
            postgresql_where=text("coupon_association_id IS NOT NULL"),
        ),
    )

    @hybrid_property
    def charge_discount(self) -> Decimal:
        """What it took in the currency of the charges: budgets are in that."""
        return self.discounted_amount if self.source_discounted_amount is None else self.source_discounted_amount

    @charge_discount.inplace.expression
    @classmethod
    def _charge_discount(cls) -> ColumnElement[Decimal]:
        return func.coalesce(cls.source_discounted_amount, cls.discounted_amount)


class TaxAppliedRow(Scoped, Tracked, Base):
    """A tax that was charged on an invoice, at one rate."""

    __tablename__ = "taxes_applied"
    label = "Tax applied"

    entity_type: Mapped[str] = mapped_column(String(20), default="invoice")
    entity_id: Mapped[str] = mapped_column(String(50))
    tax_rate_id: Mapped[str] = mapped_column(String(50))
    tax_association_id: Mapped[str | None] = mapped_column(String(50))
    taxable_amount: Mapped[Decimal]
    tax_amount: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(String(3))
    applied_at: Mapped[datetime]
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    rate_snapshot: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Name, code, type and figure of the rate as charged, for the document."""
    position: Mapped[int] = mapped_column(default=0)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # a rate is charged once on an entity; a new computation replaces it
        Index(
            "uq_taxes_applied_rate",
            "environment_id",
            "entity_id",
            "tax_rate_id",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # was this rate ever charged
        Index("ix_taxes_applied_tax_rate", "environment_id", "tax_rate_id"),
    )
