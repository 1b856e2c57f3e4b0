"""Requests and responses of coupons and their associations, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.fields import Ids, Name
from farthing.catalogue.precision import kept_whole
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Moment,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    currency_code,
    stored_amount,
)
from farthing.core.enums import Status
from farthing.rating.totals.discounts import CouponType
from farthing.storage.queries.listing import ListQuery, Pagination

LONGEST_CODE = 100
LONGEST_RULES = 16_000
MOST_PERIODS = 1200
MOST_REDEMPTIONS = 1_000_000


LineItemAbove = Annotated[
    dict[str, Any],
    Meta(
        description="a line item, as subscriptions show it",
        extra_json_schema={"allOf": [{"$ref": "#/components/schemas/SubscriptionLineItemResponse"}]},
    ),
]
FewIds = Annotated[list[str], Meta(max_length=100)]


def stored_code(code: str) -> str:
    """The stored form of a coupon code: without blanks around it, in lower case."""
    return code.strip().lower()


class CreateCouponRequest(Request):
    """A new coupon. Exactly one of `amount_off` and `percentage_off` is given; an amount of 0 counts as not given."""

    name: Name
    type: CouponType
    cadence: CouponCadence
    amount_off: Decimal | None = None
    percentage_off: Decimal | None = None
    currency: str | None = None
    coupon_code: str | None = None
    duration_in_periods: Annotated[int, Meta(ge=1, le=MOST_PERIODS)] | None = None
    redeem_after: Moment | None = None
    redeem_before: Moment | None = None
    max_redemptions: Annotated[int, Meta(ge=1, le=MOST_REDEMPTIONS)] | None = None
    rules: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_worth()
        if not self.name.strip():
            raise BadField("name", "must not be blank")
        if self.cadence is CouponCadence.REPEATED and self.duration_in_periods is None:
            raise BadField("duration_in_periods", "is required for the cadence repeated")
        if self.cadence is not CouponCadence.REPEATED and self.duration_in_periods is not None:
            raise BadField("duration_in_periods", "is only for the cadence repeated")
        if self.redeem_after and self.redeem_before and self.redeem_before < self.redeem_after:
            raise BadField("redeem_before", "must not be before redeem_after")
        self.coupon_code = stored_code(self.coupon_code or "") or None
        if self.coupon_code and len(self.coupon_code) > LONGEST_CODE:
            raise BadField("coupon_code", f"must be at most {LONGEST_CODE} characters long")
        self.metadata = checked_metadata(self.metadata)
        if len(str(self.rules)) > LONGEST_RULES:
            raise BadField("rules", f"must be at most {LONGEST_RULES} characters long")

    def _check_worth(self) -> None:
        if self.type is CouponType.FIXED:
            if self.percentage_off:
                raise BadField("percentage_off", "is only for coupons of type percentage")
            if self.amount_off is None or self.amount_off <= 0:
                raise BadField("amount_off", "must be more than 0 for a coupon of type fixed")
            if not self.currency:
                raise BadField("currency", "is required for a coupon of type fixed")
            self.amount_off = kept_whole("amount_off", stored_amount("amount_off", self.amount_off), 24, 8)
            self.currency = currency_code("currency", self.currency)
            self.percentage_off = None
        else:
            if self.amount_off:
                raise BadField("amount_off", "is only for coupons of type fixed")
            if self.percentage_off is None or not 0 < self.percentage_off <= 100:
                raise BadField("percentage_off", "must be more than 0 and at most 100 for a coupon of type percentage")
            self.percentage_off = kept_whole("percentage_off", self.percentage_off, 7, 4)
            # a percentage is of any currency
            self.amount_off = self.currency = None


class UpdateCouponRequest(Request):
    """What may change of a coupon; absent and null stay. Metadata given replaces the stored."""

    name: Name | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and not self.name.strip():
            raise BadField("name", "must not be blank")
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class CouponFilter(ListQuery):
    """The filter of the coupon list; an empty list is no condition. Codes are looked up whatever their case."""

    coupon_ids: Ids | None = None
    coupon_codes: Ids | None = None


class CouponAssociationFilter(ListQuery):
    """The filter of the list of associations.

    `active_only` keeps those in force now, or, with a period, within it; a period alone does the same.
    """

    subscription_ids: FewIds | None = None
    coupon_ids: FewIds | None = None
    subscription_line_item_ids: FewIds | None = None
    subscription_phase_ids: FewIds | None = None
    active_only: bool | None = None
    period_start: Moment | None = None
    period_end: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period_start and self.period_end and self.period_end <= self.period_start:
            raise BadField("period_end", "must be after period_start")


class CouponResponse(Response):
    """A coupon. Of `amount_off` and `percentage_off`, the unused one is "0"; so is `currency` empty."""

    id: str
    name: str
    type: CouponType
    cadence: CouponCadence
    amount_off: DecimalText
    percentage_off: DecimalText
    currency: str
    total_redemptions: int
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    coupon_code: str | None = None
    duration_in_periods: int | None = None
    redeem_after: Timestamp | None = None
    redeem_before: Timestamp | None = None
    max_redemptions: int | None = None
    rules: dict[str, Any] | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    @classmethod
    def of_coupon(cls, coupon: CouponRow) -> CouponResponse:
        """Build from a row; nothing taken off, and no currency, are told as "0" and ""."""
        unused = {name: "0" for name in ("amount_off", "percentage_off") if getattr(coupon, name) is None}
        return cls.of(coupon, currency=coupon.currency or "", **unused)


class CouponAssociationResponse(Response):
    """A coupon attached to a subscription or to one of its lines."""

    id: str
    coupon_id: str
    subscription_id: str
    start_date: Timestamp
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    subscription_line_item_id: str | None = None
    subscription_phase_id: str | None = None
    end_date: Timestamp | None = None
    coupon: CouponResponse | None = None
    """Only with `expand=coupon`."""
    subscription_line_item: LineItemAbove | None = None
    """Only with `expand=subscription_line_items`."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListCouponsResponse(Response):
    """A page of coupons."""

    items: list[CouponResponse]
    pagination: Pagination


class ListCouponAssociationsResponse(Response):
    """A page of coupon associations."""

    items: list[CouponAssociationResponse]
    pagination: Pagination
