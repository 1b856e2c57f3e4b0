"""Bodies of commitments of line items, and of prices that are made for one subscription."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.fields import Line, OptionalId, Text
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.schemas import (
    Count,
    Multiple,
    PriceUnitConfig,
    Tiers,
    TransformQuantityRequest,
)
from farthing.core.encoding.wire import BadField, Moment, Request, stored_amount
from farthing.core.enums import PriceType
from farthing.rating.pricing.price import BillingModel, TierMode
from farthing.subscriptions.enums import (
    CommitmentType,
)

MINUTES_PER_DAY = 24 * 60


def quantity(name: str, given: Decimal) -> Decimal:
    """A quantity that can be stored: not negative, at most 15 decimals. Raises BadField."""
    if given < 0:
        raise BadField(name, "must not be negative")
    exponent = given.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -15:
        raise BadField(name, "must have at most 15 digits after the decimal point")
    return stored_amount(name, given)


def money(name: str, given: Decimal) -> Decimal:
    """An amount that can be stored: not negative. Raises BadField."""
    if given < 0:
        raise BadField(name, "must not be negative")
    exponent = given.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        raise BadField(name, "must have at most 8 digits after the decimal point")
    return stored_amount(name, given)


def factor(name: str, given: Decimal) -> Decimal:
    """An overage factor: at least 1. Raises BadField."""
    if given < 1:
        raise BadField(name, "must be at least 1")
    return money(name, given)


class TimeOfDay(Request):
    """A minute of the UTC day; 24:00 is its end."""

    hour: Annotated[int, Meta(ge=0, le=24)] = 0
    minute: Annotated[int, Meta(ge=0, le=59)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hour == 24 and self.minute:
            raise BadField("minute", "must be 0 at hour 24")

    @property
    def minutes(self) -> int:
        return self.hour * 60 + self.minute


class CommitmentBucketRequest(Request):
    """Terms for the windows that start in `[start, end)` of the UTC day, which may wrap midnight."""

    start: TimeOfDay
    end: TimeOfDay
    commitment_type: CommitmentType
    commitment_value: Decimal
    id: OptionalId | None = None
    overage_factor: Decimal | None = None
    true_up_enabled: bool | None = None
    price: CommitmentBucketPrice | None = None
    price_id: OptionalId | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        quantity("commitment_value", self.commitment_value)
        if self.overage_factor is not None:
            factor("overage_factor", self.overage_factor)
        if self.start.minutes % MINUTES_PER_DAY == self.end.minutes % MINUTES_PER_DAY and not (
            self.start.minutes == 0 and self.end.minutes == MINUTES_PER_DAY
        ):
            raise BadField("end", "must differ from start")


class SubscriptionPriceCreateRequest(Request):
    """A price of one subscription, made with its line item."""

    type: PriceType
    price_unit_type: PriceUnitType
    billing_period: BillingPeriod
    billing_model: BillingModel
    invoice_cadence: InvoiceCadence
    billing_period_count: Multiple | None = None
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: Tiers | None = None
    transform_quantity: TransformQuantityRequest | None = None
    price_unit_config: PriceUnitConfig | None = None
    meter_id: OptionalId | None = None
    min_quantity: Annotated[int, Meta(ge=0, lt=10**12)] | None = None
    trial_period_days: Count | None = None
    lookup_key: Line | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    display_name: Line | None = None
    description: Text | None = None
    metadata: dict[str, str] | None = None
    filter_values: dict[str, list[str]] | None = None


class CommitmentBucketPrice(SubscriptionPriceCreateRequest, kw_only=True):
    """The price of a stretch of the day; whose it is and in which currency follow from the subscription."""

    currency: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    group_id: OptionalId | None = None


Buckets = Annotated[list[CommitmentBucketRequest], Meta(max_length=24)]


class LineItemCommitmentConfig(Request):
    """A commitment on the line item of one price: an amount or a quantity, never both."""

    commitment_amount: Decimal | None = None
    commitment_quantity: Decimal | None = None
    commitment_type: CommitmentType | None = None
    overage_factor: Decimal | None = None
    enable_true_up: bool | None = None
    is_window_commitment: bool | None = None
    commitment_duration: BillingPeriod | None = None
    commitment_time_buckets: Buckets | None = None


class CommitmentFields(Request):
    """The commitment of a line item, as line item bodies name it."""

    commitment_amount: Decimal | None = None
    commitment_quantity: Decimal | None = None
    commitment_type: CommitmentType | None = None
    commitment_overage_factor: Decimal | None = None
    commitment_true_up_enabled: bool | None = None
    commitment_windowed: bool | None = None
    commitment_duration: BillingPeriod | None = None
    commitment_time_buckets: Buckets | None = None

    @property
    def commits(self) -> bool:
        """Whether any of it is given."""
        return any(getattr(self, name) is not None for name in CommitmentFields.__struct_fields__)

    @property
    def commitment(self) -> LineItemCommitmentConfig | None:
        """The same, as creation bodies name it."""
        if not self.commits:
            return None
        return LineItemCommitmentConfig(
            commitment_amount=self.commitment_amount,
            commitment_quantity=self.commitment_quantity,
            commitment_type=self.commitment_type,
            overage_factor=self.commitment_overage_factor,
            enable_true_up=self.commitment_true_up_enabled,
            is_window_commitment=self.commitment_windowed,
            commitment_duration=self.commitment_duration,
            commitment_time_buckets=self.commitment_time_buckets,
        )
