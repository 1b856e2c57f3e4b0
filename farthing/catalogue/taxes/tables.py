"""Tables of tax rates and of what they apply to."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.taxes.enums import TaxEntityType, TaxRateScope, TaxRateStatus
from farthing.rating.totals.taxes import TaxRateType
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class TaxRateRow(Scoped, Tracked, Base):
    """A tax: a percentage from 0 to 100 of the taxable amount, or an amount per invoice in the invoice's currency."""

    __tablename__ = "tax_rates"
    label = "Tax rate"
    audit = Audited("tax_rate")

    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(1000), default="")
    code: Mapped[str] = mapped_column(String(255))
    tax_rate_status: Mapped[TaxRateStatus] = mapped_column(enum_column(TaxRateStatus), default=TaxRateStatus.ACTIVE)
    tax_rate_type: Mapped[TaxRateType] = mapped_column(enum_column(TaxRateType))
    scope: Mapped[TaxRateScope] = mapped_column(enum_column(TaxRateScope), default=TaxRateScope.INTERNAL)
    percentage_value: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    fixed_value: Mapped[Decimal | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published rate per code, case included; archiving frees it
        Index(
            "uq_tax_rates_code",
            "environment_id",
            "code",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # lists: newest first; the id breaks ties
        Index("ix_tax_rates_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint(
            "CASE tax_rate_type WHEN 'percentage' THEN percentage_value BETWEEN 0 AND 100 AND fixed_value IS NULL "
            "ELSE fixed_value >= 0 AND percentage_value IS NULL END",
            name="figure_of_its_type",
        ),
    )


class TaxAssociation(Scoped, Tracked, Base):
    """A rate applies to an entity for `[start_date, end_date)`, in one currency or, where that is null, in any."""

    __tablename__ = "tax_associations"
    label = "Tax association"
    audit = Audited("tax_association", named_by=(), named_after=("tax_rate_id",), part_of=("entity_id",))

    tax_rate_id: Mapped[str] = mapped_column(String(50), ForeignKey("tax_rates.id"))
    entity_type: Mapped[TaxEntityType] = mapped_column(enum_column(TaxEntityType))
    entity_id: Mapped[str] = mapped_column(String(50))
    priority: Mapped[int] = mapped_column(default=0)
    """Order of presentation, lowest first; it changes no amount."""
    auto_apply: Mapped[bool] = mapped_column(default=False)
    currency: Mapped[str | None] = mapped_column(String(3))
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        CheckConstraint("end_date > start_date", name="ends_after_start"),
        CheckConstraint("priority >= 0", name="priority_not_negative"),
        lower_case(),
        # what applies to an entity
        Index("ix_tax_associations_entity", "environment_id", "entity_type", "entity_id", "priority", "id"),
        # whether a rate is in use
        Index("ix_tax_associations_rate", "environment_id", "tax_rate_id"),
        # lists: newest first
        Index("ix_tax_associations_newest", "environment_id", "status", "created_at", "id"),
    )
