"""Tables of prices and custom price units."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices.enums import BillingCadence, PriceUnitType
from farthing.core.enums import PriceType
from farthing.rating.pricing.price import BillingModel, TierMode
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case

QUOTED = Numeric(25, 15)
"""An amount or a rate as it was sent."""
CONVERTED = Numeric(50, 30)
"""An amount quoted in a custom unit times its rate, with every digit of the product."""

_LIVE = "status = 'published' AND end_date IS NULL"


class PriceUnit(Scoped, Tracked, Base):
    """A unit of the tenant's own, such as a credit, worth `conversion_rate` of `base_currency`."""

    __tablename__ = "price_units"
    label = "Price unit"
    audit = Audited("price_unit")

    name: Mapped[str] = mapped_column(String(255))
    code: Mapped[str] = mapped_column(String(3))
    symbol: Mapped[str] = mapped_column(String(10))
    base_currency: Mapped[str] = mapped_column(String(3))
    conversion_rate: Mapped[Decimal] = mapped_column(QUOTED)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published unit per code; also answers look-ups by code
        Index(
            "uq_price_units_code", "environment_id", "code", unique=True, postgresql_where=text("status = 'published'")
        ),
        # lists: newest first
        Index("ix_price_units_newest", "environment_id", "status", "created_at", "id"),
        lower_case("base_currency"),
        CheckConstraint("conversion_rate > 0", name="worth_something"),
    )


class Price(Scoped, Tracked, Base):
    """What a unit, a package or a tier costs, for one owner, from `start_date` until `end_date`.

    `amount` and `tiers` are money of `currency` even when the price is quoted in a custom unit; the quote is kept in
    `price_unit_amount` and `price_unit_tiers`. Tiers are `[{"up_to", "unit_amount", "flat_amount"?}]` in the order
    sent, amounts as text.
    """

    __tablename__ = "prices"
    label = "Price"
    audit = Audited("price", named_by=("display_name", "lookup_key"), bookkeeping=frozenset({"sequence"}))

    entity_type: Mapped[PriceEntityType] = mapped_column(enum_column(PriceEntityType))
    entity_id: Mapped[str] = mapped_column(String(50))
    type: Mapped[PriceType] = mapped_column(enum_column(PriceType))
    currency: Mapped[str] = mapped_column(String(3))
    billing_model: Mapped[BillingModel] = mapped_column(enum_column(BillingModel))
    billing_cadence: Mapped[BillingCadence] = mapped_column(
        enum_column(BillingCadence), default=BillingCadence.RECURRING
    )
    billing_period: Mapped[BillingPeriod] = mapped_column(enum_column(BillingPeriod))
    billing_period_count: Mapped[int] = mapped_column(Integer, default=1)
    invoice_cadence: Mapped[InvoiceCadence] = mapped_column(enum_column(InvoiceCadence))
    amount: Mapped[Decimal] = mapped_column(CONVERTED, default=Decimal(0))
    display_amount: Mapped[str] = mapped_column(String(255))
    tier_mode: Mapped[TierMode | None] = mapped_column(enum_column(TierMode))
    tiers: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    transform_quantity: Mapped[dict[str, Any]] = mapped_column(default=lambda: {"divide_by": 1})
    price_unit_type: Mapped[PriceUnitType] = mapped_column(enum_column(PriceUnitType), default=PriceUnitType.FIAT)
    price_unit_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("price_units.id"))
    price_unit: Mapped[str | None] = mapped_column(String(3))
    """The unit's code."""
    price_unit_amount: Mapped[Decimal | None] = mapped_column(QUOTED)
    display_price_unit_amount: Mapped[str | None] = mapped_column(String(255))
    price_unit_tiers: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    conversion_rate: Mapped[Decimal | None] = mapped_column(QUOTED)
    """The unit's rate when the price was made; later changes of the unit do not reach it."""
    meter_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("meters.id"))
    min_quantity: Mapped[Decimal | None] = mapped_column(Numeric(20, 8))
    """What a line's quantity is when none is given."""
    trial_period_days: Mapped[int] = mapped_column(Integer, default=0)
    display_name: Mapped[str] = mapped_column(String(255), default="")
    description: Mapped[str] = mapped_column(default="")
    lookup_key: Mapped[str] = mapped_column(String(255), default="")
    group_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("groups.id"))
    parent_price_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("prices.id"))
    """The root of the lineage; None on a root."""
    replaces_price_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("prices.id"))
    """The version directly before."""
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    sequence: Mapped[int] = mapped_column(BigInteger, Identity())
    """Grows with every price created or ended in the whole database; per owner also in order of commit."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # a key names one price that has no end
        Index(
            "uq_prices_lookup_key",
            "environment_id",
            "lookup_key",
            unique=True,
            postgresql_where=text(f"{_LIVE} AND lookup_key <> ''"),
        ),
        # two changes at once cannot both succeed one price
        Index(
            "uq_prices_successor",
            "environment_id",
            "replaces_price_id",
            unique=True,
            postgresql_where=text("replaces_price_id IS NOT NULL"),
        ),
        # a meter's usage has one cost on a cost sheet
        Index(
            "uq_prices_meter_of_cost_sheet",
            "environment_id",
            "entity_id",
            "meter_id",
            unique=True,
            postgresql_where=text(f"{_LIVE} AND entity_type = 'COSTSHEET' AND type = 'USAGE'"),
        ),
        # prices of a plan, an addon, a subscription; and what changed since a sequence
        Index("ix_prices_owner", "environment_id", "entity_id", "entity_type", "sequence"),
        # versions by key, ended ones included
        Index("ix_prices_lookup_key", "environment_id", "lookup_key", postgresql_where=text("lookup_key <> ''")),
        # may this meter be disabled
        Index("ix_prices_meter", "environment_id", "meter_id", postgresql_where=text("meter_id IS NOT NULL")),
        # overrides and versions of a price
        Index(
            "ix_prices_parent",
            "environment_id",
            "parent_price_id",
            postgresql_where=text("parent_price_id IS NOT NULL"),
        ),
        # members of a group, when it is deleted
        Index("ix_prices_group", "environment_id", "group_id", postgresql_where=text("group_id IS NOT NULL")),
        # may this unit be archived
        Index("ix_prices_unit", "environment_id", "price_unit_id", postgresql_where=text("price_unit_id IS NOT NULL")),
        # lists: newest first
        Index("ix_prices_newest", "environment_id", "status", "created_at", "id"),
        lower_case(),
        CheckConstraint("entity_type <> 'PRICE'", name="owned"),
        CheckConstraint("amount >= 0", name="amount"),
        CheckConstraint("end_date >= start_date", name="life"),
        CheckConstraint("billing_period_count >= 1 AND trial_period_days >= 0", name="counts"),
        CheckConstraint("(type = 'USAGE') = (meter_id IS NOT NULL)", name="usage_has_meter"),
        CheckConstraint("(price_unit_type = 'CUSTOM') = (price_unit_id IS NOT NULL)", name="custom_has_unit"),
        CheckConstraint("billing_model <> 'TIERED' OR (tiers IS NOT NULL AND tier_mode IS NOT NULL)", name="tiers"),
    )
