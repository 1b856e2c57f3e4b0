"""Lists: paging, time ranges and filters, from a query string or a search body, and the page that answers them."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from litestar import Request as HttpRequest
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import from_decoding
from farthing.api.queries.search import Condition, SortBy, apply_conditions, apply_sort, filterable
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.wire import Moment, Request, Response
from farthing.storage.tables import Base

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000
MOST_CONDITIONS = 50
MOST_SORTS = 20

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Base)
Query = TypeVar("Query", bound=Request)


class ListQuery(Request):
    """What every list and search takes. A domain's filter adds its own fields."""

    limit: int | None = None
    offset: int | None = None
    status: Status | None = None
    order: Literal["asc", "desc"] | None = None
    sort: list[SortBy] | str | None = None
    filters: list[Condition] | None = None
    expand: str | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and not 0 <= self.limit <= LARGEST_LIMIT:
            raise ValidationFailed.of("limit", f"must be between 1 and {LARGEST_LIMIT}")
        if self.offset is not None and not 0 <= self.offset < 2**63:
            raise ValidationFailed.of("offset", "must not be negative")
        if self.start_time and self.end_time and self.end_time < self.start_time:
            raise ValidationFailed.of("end_time", "must not be before start_time")
        if len(self.filters or ()) > MOST_CONDITIONS:
            raise ValidationFailed.of("filters", f"must have at most {MOST_CONDITIONS} conditions")
        if not isinstance(self.sort, str) and len(self.sort or ()) > MOST_SORTS:
            raise ValidationFailed.of("sort", f"must have at most {MOST_SORTS} levels")

    @property
    def page_size(self) -> int:
        return self.limit or DEFAULT_LIMIT

    @property
    def skip(self) -> int:
        return self.offset or 0


class Pagination(Response):
    """`total` counts all matches, whatever the page."""

    total: int
    limit: int
    offset: int


class Page(Response, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    pagination: Pagination


def page(items: Sequence[Any], total: int, query: ListQuery, *, next_offset: bool) -> Any:
    """The answer to a list. `next_offset`: `pagination.offset` is where the next page starts, not where this one does.

    Which lists do which is fixed by clients that loop on it.
    Rule: docs/rules/conventions.md#lists-and-pages
    """
    offset = query.skip + (query.page_size if next_offset else 0)
    return Page(items=list(items), pagination=Pagination(total=total, limit=query.page_size, offset=offset))


async def select_page(
    session: AsyncSession,
    table: type[Row],
    query: ListQuery,
    fields: Sequence[str],
    statement: Select[Any] | None = None,
    *,
    time_range: bool = True,
    statuses: Sequence[Status] = (Status.PUBLISHED,),
) -> tuple[list[Row], int]:
    """One page of `statement` (default: all rows of `table`) and the count of all that match.

    Applies status (that asked for, else any of `statuses`), the creation time range, `filters` and `sort` over
    `fields`, the columns that may be searched. Ties are broken by creation time and id, newest first, so that pages
    never overlap.
    """
    statement = statement if statement is not None else select(table)
    columns = filterable(table, fields)
    every = table.__table__.columns
    if "status" in every:
        wanted = [query.status] if query.status else statuses
        statement = statement.where(every["status"].in_(wanted), every["status"] != Status.DELETED)
    if time_range and "created_at" in every:
        if query.start_time is not None:
            statement = statement.where(every["created_at"] >= query.start_time)
        if query.end_time is not None:
            statement = statement.where(every["created_at"] <= query.end_time)
    statement = apply_conditions(statement, query.filters or [], columns)
    total = (await session.execute(select(func.count()).select_from(statement.subquery()))).scalar_one()
    statement = apply_sort(statement, table, query.sort, query.order, columns)
    rows = (await session.scalars(statement.limit(query.page_size).offset(query.skip))).all()
    return list(rows), total


def read_query(request: HttpRequest[Any, Any, Any], struct: type[Query]) -> Query:
    """The query string as `struct`. Repeated parameters and comma-separated ones both make lists; blanks are dropped.

    A route that calls it declares `opt={"query": struct}`, from which the OpenAPI document gets the parameters.
    """
    values: dict[str, Any] = {}
    hints = query_fields(struct)
    for name, given in request.query_params.dict().items():
        kind = hints.get(name)
        if kind is None:
            continue
        texts = [str(text) for text in given]
        if kind.is_list:
            values[name] = [piece for text in texts for piece in text.split(",") if piece]
        elif texts[-1] != "":
            values[name] = texts[-1]
    try:
        return msgspec.convert(values, struct, strict=False)
    except msgspec.ValidationError as error:
        raise from_decoding(error) from error


class QueryField(msgspec.Struct, frozen=True):
    """One parameter of a query string."""

    annotation: Any
    is_list: bool


_NOT_IN_QUERY = {"filters"}
_fields: dict[type, dict[str, QueryField]] = {}


def query_fields(struct: type[msgspec.Struct]) -> dict[str, QueryField]:
    """The parameters a struct stands for in a query string: its fields, but for those only a body can hold."""
    if struct not in _fields:
        found: dict[str, QueryField] = {}
        for name, annotation in typing.get_type_hints(struct, include_extras=True).items():
            if name in _NOT_IN_QUERY or name not in struct.__struct_fields__:
                continue
            if name == "sort":
                found[name] = QueryField(str | None, is_list=False)
                continue
            found[name] = QueryField(annotation, _is_list(annotation))
        _fields[struct] = found
    return _fields[struct]


def _is_list(annotation: Any) -> bool:
    """Whether it is a list, possibly optional or with limits attached."""
    return typing.get_origin(annotation) is list or any(
        _is_list(part) for part in typing.get_args(annotation) if typing.get_origin(annotation) is not dict
    )


def by_id(rows: Sequence[Row], key: Callable[[Row], str] = lambda row: row.id) -> dict[str, Row]:
    """Rows keyed for joining in memory, as expansions do."""
    return {key(row): row for row in rows}
