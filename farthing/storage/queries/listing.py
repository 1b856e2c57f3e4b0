"""Pages of rows: what every list and search takes, and the one page and the count that answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import ARRAY, ColumnElement, Select, any_, bindparam, false, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import Moment, Request, Response
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.storage.queries.search import Condition, SortBy, apply_conditions, apply_sort, filterable
from farthing.storage.tables import Base

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 1000
MOST_CONDITIONS = 50
MOST_SORTS = 20

Row = TypeVar("Row", bound=Base)


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
    def is_plain(self) -> bool:
        """Whether it asks for a first page in the list's own order: one plan does for all of those.

        Others have conditions, an order or a place of their own, which the database is to know as it plans.
        """
        return not (self.filters or self.sort or self.offset)

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


@dataclass(frozen=True, slots=True)
class PageStatements:
    """A page of whole rows, and how many there are without its limit.

    `count` has no values that `page` has not; `counted_by` tells it from other counts of the same page.
    """

    page: Select[Any]
    count: Select[Any]
    counted_by: str = ""


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
    """One page of `statement` and the count of all that match, as `page_statements` says them."""
    statements = page_statements(table, query, fields, statement, time_range=time_range, statuses=statuses)
    return await select_entities(session, table, statements)


async def select_entities(session: AsyncSession, table: type[Row], statements: PageStatements) -> tuple[list[Row], int]:
    """The entities of a page, for what is read of them besides, and the count of all that match."""
    total = (await session.execute(statements.count)).scalar_one()
    return list((await session.scalars(statements.page)).all()), total


def page_statements(
    table: type[Base],
    query: ListQuery,
    fields: Sequence[str],
    statement: Select[Any] | None = None,
    *,
    time_range: bool = True,
    statuses: Sequence[Status] = (Status.PUBLISHED,),
) -> PageStatements:
    """What reads one page of `statement` (default: all rows of `table`), and the count of all that match.

    Applies status (that asked for, else any of `statuses`), the creation time range, `filters` and `sort` over
    `fields`, the columns that may be searched. Ties are broken by creation time and id, newest first, so that pages
    never overlap.
    """
    statement = statement if statement is not None else select(table)
    columns = filterable(table, fields)
    every = table.__table__.columns
    if "status" in every:
        wanted = [query.status] if query.status else statuses
        # written out, as nearly all rows have the same: of a parameter, a plan that is kept would not know
        shown = (every["status"] == literal_column(f"'{each.value}'") for each in wanted if each is not Status.DELETED)
        statement = statement.where(or_(false(), *shown))
    if time_range and "created_at" in every:
        if query.start_time is not None:
            statement = statement.where(every["created_at"] >= query.start_time)
        if query.end_time is not None:
            statement = statement.where(every["created_at"] <= query.end_time)
    statement = apply_conditions(statement, query.filters or [], columns)
    # written out: of a limit that is a parameter, a plan that is kept would think it a tenth of all rows
    page = apply_sort(statement, table, query.sort, query.order, columns).limit(literal_column(str(query.page_size)))
    return PageStatements(page.offset(query.skip) if query.skip else page, _counting(statement))


def one_of(column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a column holds one of these, sent as one array: the same statement however many they are.

    A single one is compared with, because an index gives its rows in their order.
    """
    if len(values) == 1:
        return cast("ColumnElement[bool]", column == values[0])
    return cast("ColumnElement[bool]", column == any_(bindparam(None, list(values), ARRAY(column.type))))


def _counting(statement: Select[Any]) -> Select[Any]:
    """How many rows `statement` has. Their columns are left out where that changes nothing: there are sixty of some."""
    if statement._distinct or statement._group_by_clauses or statement._having_criteria:
        return select(func.count()).select_from(statement.subquery())
    return statement.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)


def by_id(rows: Sequence[Row], key: Callable[[Row], str] = lambda row: row.id) -> dict[str, Row]:
    """Rows keyed for joining in memory, as expansions do."""
    return {key(row): row for row in rows}
