"""Requests and responses of tax rates and their associations, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar

from msgspec import Meta

from farthing.catalogue.fields import Ids, Line, Name
from farthing.catalogue.precision import kept_whole
from farthing.catalogue.taxes.enums import TaxEntityType, TaxRateScope, TaxRateStatus
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
from farthing.core.standards.trade_codes import check_vat
from farthing.rating.totals.taxes import TaxRateType
from farthing.storage.queries.listing import ListQuery, Pagination

Priority = Annotated[int, Meta(ge=0, lt=2**31)]
Description = Annotated[str, Meta(max_length=1000)]


class CreateTaxRateRequest(Request):
    """A new rate. Exactly the figure of its type is given; without a type, that is a percentage."""

    name: Name
    code: Name
    tax_rate_type: TaxRateType = TaxRateType.PERCENTAGE
    percentage_value: Decimal | None = None
    fixed_value: Decimal | None = None
    scope: TaxRateScope = TaxRateScope.INTERNAL
    description: Description | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip():
            raise BadField("name", "must not be blank")
        if not self.code.strip():
            raise BadField("code", "must not be blank")
        if self.tax_rate_type is TaxRateType.PERCENTAGE:
            if self.fixed_value is not None:
                raise BadField("fixed_value", "is only for rates of type fixed")
            if self.percentage_value is None or not 0 <= self.percentage_value <= 100:
                raise BadField("percentage_value", "must be 0 to 100 for a rate of type percentage")
            self.percentage_value = kept_whole("percentage_value", self.percentage_value, 9, 6)
        else:
            if self.percentage_value is not None:
                raise BadField("percentage_value", "is only for rates of type percentage")
            if self.fixed_value is None or self.fixed_value < 0:
                raise BadField("fixed_value", "must be 0 or more for a rate of type fixed")
            self.fixed_value = kept_whole("fixed_value", stored_amount("fixed_value", self.fixed_value), 24, 8)
        self.metadata = checked_metadata(self.metadata)
        check_vat(self.metadata, self.percentage_value)


class UpdateTaxRateRequest(Request):
    """What may change of a rate that nothing uses; absent and null stay. Metadata given replaces the stored."""

    name: Name | None = None
    code: Name | None = None
    description: Description | None = None
    tax_rate_status: TaxRateStatus | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("name", "code"):
            given = getattr(self, field)
            if given is not None and not given.strip():
                raise BadField(field, "must not be blank")
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class TaxRateFilter(ListQuery):
    """The filter of the list of rates; an empty list is no condition."""

    taxrate_ids: Ids | None = None
    taxrate_codes: Ids | None = None
    code: Line | None = None
    scope: TaxRateScope | None = None


class CreateTaxAssociationRequest(Request):
    """A rate to apply to an entity, named by type and id, or to the customer with this external id."""

    tax_rate_code: Name
    entity_type: TaxEntityType | None = None
    entity_id: Line | None = None
    external_customer_id: Line | None = None
    priority: Priority = 0
    auto_apply: bool = False
    currency: str | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.external_customer_id:
            if self.entity_type not in {None, TaxEntityType.CUSTOMER}:
                raise BadField("entity_type", "must be customer when external_customer_id is given")
            self.entity_type = TaxEntityType.CUSTOMER
        else:
            if self.entity_type is None:
                raise BadField("entity_type", "is required: tenant, customer, subscription or invoice")
            if not self.entity_id:
                raise BadField("entity_id", "is required")
        self.currency = currency_code("currency", self.currency) if self.currency else None
        if self.start_date and self.end_date and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")
        self.metadata = checked_metadata(self.metadata)


class TaxAssociationUpdateRequest(Request):
    """What may change of an association; absent and null stay. Metadata given replaces the stored."""

    priority: Priority | None = None
    auto_apply: bool | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class TaxAssociationFilter(ListQuery):
    """The filter of the list of associations."""

    entity_type: TaxEntityType | None = None
    entity_id: Line | None = None
    external_customer_id: Line | None = None
    tax_rate_id: Line | None = None
    tax_association_ids: Ids | None = None
    tax_rate_ids: Ids | None = None
    entity_ids: Ids | None = None
    auto_apply: bool | None = None


class TaxRateResponse(Response):
    """A tax rate."""

    id: str
    name: str
    description: str
    code: str
    tax_rate_status: TaxRateStatus
    tax_rate_type: TaxRateType
    scope: TaxRateScope
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    percentage_value: DecimalText | None = None
    fixed_value: DecimalText | None = None

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class TaxAssociationResponse(Response):
    """A rate that applies to an entity."""

    id: str
    tax_rate_id: str
    entity_type: TaxEntityType
    entity_id: str
    priority: int
    auto_apply: bool
    start_date: Timestamp
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    currency: str | None = None
    end_date: Timestamp | None = None
    tax_rate: TaxRateResponse | None = None
    """Only with `expand=tax_rate`."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListTaxRatesResponse(Response):
    """A page of tax rates."""

    items: list[TaxRateResponse]
    pagination: Pagination


class ListTaxAssociationsResponse(Response):
    """A page of tax associations."""

    items: list[TaxAssociationResponse]
    pagination: Pagination
