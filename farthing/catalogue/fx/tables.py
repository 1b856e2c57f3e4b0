"""Tables of exchange rates and of the reference rates that were imported."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Date, Index, Numeric, PrimaryKeyConstraint, String, func, literal_column, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.fx.enums import FxScope, FxSource
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case

RateNumber = Numeric(30, 12)


class FxRate(Scoped, Tracked, Base):
    """`rate` units of `to_currency` for one of `from_currency`, in `[start_date, end_date)` where these are given."""

    __tablename__ = "fx_rates"
    label = "FX rate"
    audit = Audited("fx_rate", named_by=(), named_after=("scope_id",))

    from_currency: Mapped[str] = mapped_column(String(3))
    to_currency: Mapped[str] = mapped_column(String(3))
    rate: Mapped[Decimal] = mapped_column(RateNumber)
    scope: Mapped[FxScope] = mapped_column(enum_column(FxScope))
    scope_id: Mapped[str | None] = mapped_column(String(50))
    """The customer or subscription that an override is for; NULL for a rate of the environment."""
    source: Mapped[FxSource] = mapped_column(enum_column(FxSource), default=FxSource.FIXED)
    market_day: Mapped[date | None] = mapped_column(Date)
    """The day of the reference rates that a market rate was taken from."""
    start_date: Mapped[datetime | None]
    end_date: Mapped[datetime | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        CheckConstraint("rate > 0", name="rate_above_zero"),
        CheckConstraint("from_currency <> to_currency", name="currencies_differ"),
        CheckConstraint("(scope = 'tenant') = (scope_id IS NULL)", name="override_names_its_scope"),
        CheckConstraint(
            "scope <> 'tenant' OR (start_date IS NULL AND end_date IS NULL AND status = 'published')",
            name="tenant_rate_always_holds",
        ),
        CheckConstraint("(source = 'market') = (market_day IS NOT NULL)", name="market_rate_has_its_day"),
        CheckConstraint("end_date > start_date", name="ends_after_start"),
        lower_case("from_currency"),
        lower_case("to_currency"),
        # one rate of the environment for each pair
        Index(
            "uq_fx_rates_pair",
            "environment_id",
            "from_currency",
            "to_currency",
            unique=True,
            postgresql_where=text("scope = 'tenant'"),
        ),
        # at any instant an override has one rate; the index also answers which rates a payer has for a pair
        ExcludeConstraint(
            (literal_column("environment_id"), "="),
            (literal_column("scope_id"), "="),
            (literal_column("from_currency"), "="),
            (literal_column("to_currency"), "="),
            (func.tstzrange(literal_column("start_date"), literal_column("end_date")), "&&"),
            name="ex_fx_rates_windows",
            where=text("status = 'published' AND scope <> 'tenant'"),
        ),
        # lists: newest first
        Index("ix_fx_rates_newest", "environment_id", "status", "created_at", "id"),
    )

    @property
    def pair(self) -> str:
        """What a person calls it."""
        return f"{self.from_currency.upper()} to {self.to_currency.upper()}"


class EuroReferenceRate(Scoped, Base):
    """How many units of a currency one euro bought on a day, as a reference file said."""

    __tablename__ = "euro_reference_rates"
    label = "Reference rate"

    id: Mapped[str] = mapped_column("currency", String(3))
    environment_id: Mapped[str] = mapped_column(String(50))
    day: Mapped[date] = mapped_column(Date)
    units_per_euro: Mapped[Decimal] = mapped_column(RateNumber)

    __table_args__ = (
        PrimaryKeyConstraint("environment_id", "currency", "day"),
        CheckConstraint("units_per_euro > 0", name="above_zero"),
        lower_case(),
    )
