"""Requests of prices, requests and responses of price units, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from farthing.api.queries.lists import Page
from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fields import Id, Ids, Line, Name, OptionalId, Text, metadata_with_unit, quoted
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.core.encoding.wire import (
    BadField,
    DecimalText,
    Moment,
    Request,
    Response,
    Timestamp,
    checked_metadata,
    currency_code,
)
from farthing.core.enums import PriceType, Status
from farthing.customers import fields as customer_fields
from farthing.rating.pricing.price import BillingModel, TierMode
from farthing.storage.queries.listing import ListQuery

MOST_TIERS = 1000
MOST_IN_BULK = 100
LARGEST_BOUND = 2**64 - 1

Count = Annotated[int, Meta(ge=0, lt=2**31)]
Multiple = Annotated[int, Meta(ge=1, lt=2**31)]
Rounding = Literal["up", "down", ""]


class CreatePriceTier(Request):
    """A tier in a request; `up_to` is inclusive, and null has no end."""

    unit_amount: Decimal
    up_to: Annotated[int, Meta(ge=0)] | None = None
    flat_amount: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.up_to is not None and self.up_to > LARGEST_BOUND:
            raise BadField("up_to", f"must be at most {LARGEST_BOUND}")
        quoted("unit_amount", self.unit_amount)
        if self.flat_amount is not None:
            quoted("flat_amount", self.flat_amount)


Tiers = Annotated[list[CreatePriceTier], Meta(max_length=MOST_TIERS)]


class TransformQuantityRequest(Request):
    """How many units make a package, and whether a package begun counts."""

    divide_by: Annotated[int, Meta(ge=1, lt=2**63 - 1)] | None = None
    round: Rounding | None = None


class PriceUnitConfig(Request):
    """A price quoted in a custom unit, named by its code."""

    price_unit: Annotated[str, Meta(min_length=3, max_length=3)]
    amount: Decimal | None = None
    price_unit_tiers: Tiers | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amount is not None:
            quoted("amount", self.amount)


class CreatePriceRequest(Request):
    """A new price."""

    entity_type: PriceEntityType
    entity_id: Id
    currency: str
    type: PriceType
    billing_model: BillingModel
    billing_period: BillingPeriod
    invoice_cadence: InvoiceCadence
    price_unit_type: PriceUnitType = PriceUnitType.FIAT
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
    group_id: OptionalId | None = None
    filter_values: dict[str, list[str]] | None = None
    """Accepted from older clients; nothing reads it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.currency = currency_code("currency", self.currency)
        self.metadata = customer_fields.metadata(metadata_with_unit(self.metadata))
        if self.entity_type is PriceEntityType.PRICE:
            raise BadField("entity_type", "must be PLAN, ADDON, SUBSCRIPTION or COSTSHEET")
        if self.amount is not None:
            quoted("amount", self.amount)
        if (self.price_unit_type is PriceUnitType.CUSTOM) != (self.price_unit_config is not None):
            needed = self.price_unit_type is PriceUnitType.CUSTOM
            raise BadField("price_unit_config", "is required for CUSTOM" if needed else "is not allowed for FIAT")
        self._check_charge()
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")

    def _check_charge(self) -> None:
        once = self.billing_period is BillingPeriod.ONETIME
        if self.type is PriceType.USAGE:
            if self.invoice_cadence is not InvoiceCadence.ARREAR:
                raise BadField("invoice_cadence", "must be ARREAR for USAGE, which is known only afterwards")
            if not self.meter_id:
                raise BadField("meter_id", "is required for USAGE")
            if self.min_quantity is not None:
                raise BadField("min_quantity", "is only allowed for FIXED")
        if once and self.invoice_cadence is not InvoiceCadence.ADVANCE:
            raise BadField("invoice_cadence", "must be ADVANCE for ONETIME")
        if self.trial_period_days and (once or self.type is PriceType.USAGE):
            raise BadField("trial_period_days", "is only allowed for FIXED prices that recur")


class PriceOfNewPlan(CreatePriceRequest, kw_only=True):
    """A price that is made together with its plan, so that it need not say whose it is."""

    entity_type: PriceEntityType = PriceEntityType.PLAN
    entity_id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.entity_type is not PriceEntityType.PLAN:
            raise BadField("entity_type", "must be PLAN for a price that is made together with its plan")
        if self.entity_id:
            raise BadField("entity_id", "must not be given for a price that is made together with its plan")


class CreateBulkPriceRequest(Request):
    """Prices made together, or none of them."""

    items: Annotated[list[CreatePriceRequest], Meta(min_length=1, max_length=MOST_IN_BULK)]


class PricingChange(Request):
    """What a price may be made to charge instead; what is absent is taken from the price as it is."""

    billing_model: BillingModel | None = None
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: Tiers | None = None
    transform_quantity: TransformQuantityRequest | None = None
    price_unit_amount: Decimal | None = None
    price_unit_tiers: Tiers | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("amount", "price_unit_amount"):
            if getattr(self, name) is not None:
                quoted(name, getattr(self, name))
        if self.in_currency and self.in_units:
            field = "price_unit_amount" if self.price_unit_amount is not None else "price_unit_tiers"
            raise BadField(field, "cannot be given together with amount or tiers")

    @property
    def in_currency(self) -> bool:
        return self.amount is not None or self.tiers is not None

    @property
    def in_units(self) -> bool:
        return self.price_unit_amount is not None or self.price_unit_tiers is not None

    @property
    def changes_money(self) -> bool:
        """Whether any field of a price's money is given."""
        return any(getattr(self, name) is not None for name in PricingChange.__struct_fields__)


class UpdatePriceRequest(PricingChange, kw_only=True):
    """Labels to change in place, or a change of money, which makes a new version from `effective_from`."""

    lookup_key: Line | None = None
    description: Text | None = None
    display_name: Line | None = None
    metadata: dict[str, str] | None = None
    group_id: OptionalId | None = None
    effective_from: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = customer_fields.metadata(metadata_with_unit(self.metadata))
        if self.effective_from is not None and not self.changes_money:
            raise BadField("effective_from", "is only allowed with a change of what the price charges")


class DeletePriceRequest(Request):
    """When a price ends; absent is now."""

    end_date: Moment | None = None


class PriceQuery(ListQuery):
    """Query string of a list of prices."""

    price_ids: Ids | None = None
    entity_type: PriceEntityType | None = None
    entity_ids: Ids | None = None
    plan_ids: Ids | None = None
    subscription_id: str | None = None
    parent_price_id: str | None = None
    meter_ids: Ids | None = None
    billing_periods: list[BillingPeriod] | None = None
    allow_expired_prices: bool | None = None
    start_date_lt: Moment | None = None


class PriceFilter(PriceQuery):
    """Body of a search for prices."""


class PriceTier(Response):
    """A tier; `up_to` is inclusive, and absent has no end."""

    unit_amount: DecimalText
    up_to: int | None = None
    flat_amount: DecimalText | None = None


class TransformQuantity(Response):
    """How many units make a package, and whether a package begun counts."""

    divide_by: int
    round: Literal["up", "down"] | None = None


class PriceUnitResponse(Response):
    """A custom price unit."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    code: str
    symbol: str
    base_currency: str
    conversion_rate: DecimalText
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str


class CreatePriceUnitRequest(Request):
    """A new unit: one of it is worth `conversion_rate` of `base_currency`."""

    name: Name
    code: Annotated[str, Meta(min_length=3, max_length=3)]
    symbol: Annotated[str, Meta(min_length=1, max_length=10)]
    base_currency: str
    conversion_rate: Decimal
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.base_currency = currency_code("base_currency", self.base_currency)
        quoted("conversion_rate", self.conversion_rate, positive=True)
        self.metadata = checked_metadata(self.metadata)


class UpdatePriceUnitRequest(Request):
    """Labels of a unit; its worth never changes."""

    name: Name | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class PriceUnitQuery(ListQuery):
    """Query string of a list of price units."""

    price_unit_ids: Ids | None = None


class PriceUnitFilter(PriceUnitQuery):
    """Body of a search for price units."""


class ListPriceUnitsResponse(Page[PriceUnitResponse]):
    """A page of price units."""

    items: list[PriceUnitResponse]
