"""Tables of coupons and of what they are attached to."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.discounts.enums import CouponCadence
from farthing.rating.totals.discounts import CouponType
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class CouponRow(Scoped, Tracked, Base):
    """A discount on offer. `amount_off` (fixed) is in `currency`; `percentage_off` is above 0 and up to 100."""

    __tablename__ = "coupons"
    label = "Coupon"
    audit = Audited("coupon", bookkeeping=frozenset({"total_redemptions"}))

    name: Mapped[str] = mapped_column(String(255))
    coupon_code: Mapped[str | None] = mapped_column(String(100))
    """Lower case, so that looking it up folds no case."""
    type: Mapped[CouponType] = mapped_column(enum_column(CouponType))
    cadence: Mapped[CouponCadence] = mapped_column(enum_column(CouponCadence))
    duration_in_periods: Mapped[int | None]
    amount_off: Mapped[Decimal | None]
    percentage_off: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    currency: Mapped[str | None] = mapped_column(String(3))
    redeem_after: Mapped[datetime | None]
    redeem_before: Mapped[datetime | None]
    """First and last moment at which the coupon can be redeemed, both included."""
    max_redemptions: Mapped[int | None]
    total_redemptions: Mapped[int] = mapped_column(default=0)
    rules: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Kept for the caller; nothing here reads it."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published coupon per code; archiving frees it
        Index(
            "uq_coupons_code",
            "environment_id",
            "coupon_code",
            unique=True,
            postgresql_where=text("status = 'published' AND coupon_code IS NOT NULL"),
        ),
        # lists: newest first; the id breaks ties
        Index("ix_coupons_newest", "environment_id", "status", "created_at", "id"),
        lower_case(),
        CheckConstraint("coupon_code = lower(coupon_code) AND coupon_code <> ''", name="code_lower"),
        CheckConstraint(
            "CASE type WHEN 'fixed' THEN amount_off > 0 AND percentage_off IS NULL "
            "ELSE percentage_off > 0 AND percentage_off <= 100 AND amount_off IS NULL AND currency IS NULL END",
            name="worth_of_its_type",
        ),
        CheckConstraint("(cadence = 'repeated') = (duration_in_periods IS NOT NULL)", name="repeated_has_duration"),
        # redemptions are taken under the row's lock; this is the last word on the limit
        CheckConstraint("total_redemptions BETWEEN 0 AND coalesce(max_redemptions, 2147483647)", name="redemptions"),
    )


class CouponAssociation(Scoped, Tracked, Base):
    """A coupon attached to a subscription, or to one of its lines, for `[start_date, end_date)`."""

    __tablename__ = "coupon_associations"
    label = "Coupon association"
    audit = Audited(
        "coupon_association",
        named_by=(),
        bookkeeping=frozenset({"counted_from", "periods_used"}),
        part_of=("subscription_id", "coupon_id"),
    )

    coupon_id: Mapped[str] = mapped_column(String(50), ForeignKey("coupons.id"))
    subscription_id: Mapped[str] = mapped_column(String(50))
    subscription_line_item_id: Mapped[str | None] = mapped_column(String(50))
    subscription_phase_id: Mapped[str | None] = mapped_column(String(50))
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    """When it ends, as people see it; that of a coupon for a number of periods decides nothing."""
    cut_at: Mapped[datetime | None]
    """Where somebody has ended it."""
    counted_from: Mapped[datetime | None]
    """The start of the first period that a coupon for a number of periods discounts; None for other coupons."""
    periods_used: Mapped[int] = mapped_column(default=0)
    """How many of its periods an association that it continues has had."""
    continues_id: Mapped[str | None] = mapped_column(String(50))
    """The association of the subscription that this one's subscription replaced."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        CheckConstraint("end_date >= start_date", name="ends_after_start"),
        CheckConstraint("cut_at >= start_date", name="cut_after_start"),
        CheckConstraint("periods_used >= 0", name="periods_not_negative"),
        # the coupons of a subscription, in the order in which they discount
        Index("ix_coupon_associations_subscription", "environment_id", "subscription_id", "created_at", "id"),
        # where a coupon is attached
        Index("ix_coupon_associations_coupon", "environment_id", "coupon_id", "created_at", "id"),
        # lists: newest first
        Index("ix_coupon_associations_newest", "environment_id", "status", "created_at", "id"),
    )
