"""Requests and responses of cost sheets, with the names and fields of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec import field

from farthing.api.queries.lists import Page
from farthing.catalogue.answers.schemas import PriceResponse
from farthing.catalogue.fields import Ids, Line, Name, Text
from farthing.core.encoding.wire import BadField, Moment, Request, Response, Timestamp, checked_metadata
from farthing.core.enums import Status
from farthing.storage.queries.listing import ListQuery
from farthing.storage.queries.search import Condition, SortBy


class CreateCostsheetRequest(Request):
    """A new cost sheet; its costs are prices that name it as their owner."""

    name: Name
    lookup_key: Line | None = None
    description: Text | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip():
            raise BadField("name", "must not be blank")
        self.metadata = checked_metadata(self.metadata)


class UpdateCostsheetRequest(Request):
    """What to change; absent and null stay. Metadata given replaces the stored; "" takes the key away."""

    name: Name | None = None
    lookup_key: Line | None = None
    description: Text | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and not self.name.strip():
            raise BadField("name", "must not be blank")
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class CostsheetTimeRange(Request):
    """A range of creation times, both ends included."""

    start_time: Moment | None = None
    end_time: Moment | None = None


class CostsheetPaging(ListQuery):
    """Paging of a search for cost sheets, which comes in an object of its own."""

    sort: str | None = None


class CostsheetFilter(Request, rename="camel"):
    """Body of a search for cost sheets: paging and times are nested, and ids say what they are of.

    `tenantID` and `environmentID` are accepted and change nothing: a caller sees one environment.
    """

    query_filter: CostsheetPaging | None = None
    time_range_filter: CostsheetTimeRange | None = None
    costsheet_ids: Ids | None = field(default=None, name="costsheetIDs")
    tenant_id: str | None = field(default=None, name="tenantID")
    environment_id: str | None = field(default=None, name="environmentID")
    name: Line | None = None
    lookup_key: Line | None = None
    status: Status | None = None
    filters: list[Condition] | None = None
    sort: list[SortBy] | None = None
    limit: int | None = None
    offset: int | None = None

    def list_query(self) -> ListQuery:
        """The same, in the form of every other list. Raises ValidationFailed, BadField."""
        paging = self.query_filter or CostsheetPaging()
        times = self.time_range_filter or CostsheetTimeRange()
        return ListQuery(
            limit=paging.limit if paging.limit is not None else self.limit,
            offset=paging.offset if paging.offset is not None else self.offset,
            status=self.status or paging.status,
            order=paging.order,
            sort=self.sort or paging.sort,
            filters=self.filters or paging.filters,
            expand=paging.expand,
            start_time=times.start_time or paging.start_time,
            end_time=times.end_time or paging.end_time,
        )


class CostsheetResponse(Response):
    """A cost sheet, with its costs where they are asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    lookup_key: str
    description: str
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    prices: list[PriceResponse] | None = None


class CreateCostsheetResponse(Response):
    """The cost sheet that was made."""

    costsheet: CostsheetResponse


class UpdateCostsheetResponse(Response):
    """The cost sheet as it is now."""

    costsheet: CostsheetResponse


class GetCostsheetResponse(CostsheetResponse, kw_only=True):
    """A cost sheet, bare for some clients and in an envelope for others."""

    costsheet: CostsheetResponse


class DeleteCostsheetResponse(Response):
    """What was deleted."""

    message: str
    id: str


class ListCostsheetResponse(Page[CostsheetResponse]):
    """A page of cost sheets."""

    items: list[CostsheetResponse]
