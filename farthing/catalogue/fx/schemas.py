"""Requests and responses of exchange rates, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import ClassVar

from farthing.catalogue.fields import Ids, Line, OptionalId
from farthing.catalogue.fx.enums import FxScope, FxSource
from farthing.catalogue.fx.market import ImportedRates
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
)
from farthing.core.enums import Status
from farthing.storage.queries.listing import ListQuery, Pagination

PRECISION, SCALE = 30, 12
"""The digits of a rate, and how many of them stand after the decimal point."""


def checked_rate(field: str, rate: Decimal) -> Decimal:
    """A rate above 0 that is stored exactly as it was sent. Raises BadField."""
    if rate <= 0:
        raise BadField(field, "must be greater than 0")
    return kept_whole(field, rate, PRECISION, SCALE)


class RateWindow(Request):
    """The rate of a subscription for `[start_date, end_date)`, either of which may be absent."""

    rate: Decimal
    start_date: Moment | None = None
    end_date: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rate = checked_rate("rate", self.rate)
        if self.start_date and self.end_date and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")


class CreateFxRateRequest(Request):
    """A new rate: of the environment, or an override for a customer or a subscription."""

    from_currency: str
    to_currency: str
    scope: FxScope
    scope_id: OptionalId | None = None
    source: FxSource | None = None
    rate: Decimal | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.from_currency = currency_code("from_currency", self.from_currency)
        self.to_currency = currency_code("to_currency", self.to_currency)
        if self.from_currency == self.to_currency:
            raise BadField("to_currency", "must differ from from_currency")
        self._check_scope()
        if self.source is FxSource.MARKET:
            if self.rate is not None:
                raise BadField("rate", "is not given for a rate of source market, which follows the reference rates")
        elif self.rate is None:
            raise BadField("rate", "is required for a rate of source fixed")
        else:
            self.rate = checked_rate("rate", self.rate)
        if self.start_date and self.end_date and self.end_date <= self.start_date:
            raise BadField("end_date", "must be after start_date")
        self.metadata = checked_metadata(self.metadata)

    def _check_scope(self) -> None:
        if self.scope is not FxScope.TENANT:
            if not self.scope_id:
                raise BadField("scope_id", f"is required: the id of a {self.scope.value}")
            return
        if self.scope_id:
            raise BadField("scope_id", "is only for rates of scope customer or subscription")
        for field in ("start_date", "end_date"):
            if getattr(self, field) is not None:
                raise BadField(field, "is only for rates of scope customer or subscription")


class UpdateFxRateRequest(Request):
    """What may change of a rate; absent and null stay. Metadata given replaces the stored."""

    rate: Decimal | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is not None:
            self.rate = checked_rate("rate", self.rate)
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class FxRateFilter(ListQuery):
    """The filter of the list of rates; what is absent is no condition."""

    fx_rate_ids: Ids | None = None
    scope: FxScope | None = None
    scope_id: Line | None = None
    from_currency: str | None = None
    to_currency: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("from_currency", "to_currency"):
            if getattr(self, field):
                setattr(self, field, currency_code(field, getattr(self, field)))


class FxRateResponse(Response):
    """An exchange rate: units of `to_currency` for one of `from_currency`."""

    id: str
    from_currency: str
    to_currency: str
    rate: DecimalText
    scope: FxScope
    source: FxSource
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    scope_id: str | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    market_day: date | None = None
    """The day of the reference rates that a market rate was taken from."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}


class ListFxRatesResponse(Response):
    """A page of exchange rates."""

    items: list[FxRateResponse]
    pagination: Pagination


class ReferenceRatesImportRequest(Request):
    """The text of a file of euro reference rates, as the European Central Bank publishes it: CSV or XML."""

    file: str


class ReferenceRatesImported(Response):
    """What the import of reference rates did."""

    days: int
    newest_day: date
    moved: list[str]
    """The ids of the market rates that took another figure or day."""
    not_made: list[str]
    """The pairs of market rates that no day has both currencies of; these rates were left as they were."""

    @classmethod
    def of_import(cls, imported: ImportedRates) -> ReferenceRatesImported:
        """The answer to an import."""
        return cls(
            days=imported.days,
            newest_day=imported.newest_day,
            moved=list(imported.moved),
            not_made=list(imported.not_made),
        )
