"""Lists on pages: which page is shown, how it is sorted and narrowed and by which columns, read from the address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import ColumnElement, Select

from farthing.calendar.zones import first_instant_at
from farthing.core.errors import ValidationFailed
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.typed_fields import number_in

PER_PAGE = 25
LAST_PAGE = 100_000


@dataclass(slots=True)
class Listing:
    """Where a reader is in a list; `total` is filled when it was counted."""

    page: int
    sort: str
    descending: bool
    per_page: int = PER_PAGE
    total: int = 0

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page

    @property
    def first(self) -> int:
        return min(self.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.offset + self.per_page, self.total)


def listing(request: HttpRequest, sorts: Collection[str], default: str, *, descending: bool = True) -> Listing:
    """What the address asks for; whatever makes no sense there reads as the default."""
    wanted = request.query_params.get("page", "1")
    page = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 1
    sort = request.query_params.get("sort", "")
    order = request.query_params.get("order", "")
    return Listing(
        page=max(1, min(page, LAST_PAGE)),
        sort=sort if sort in sorts else default,
        descending=order == "desc" if sort in sorts and order in {"asc", "desc"} else descending,
    )


def like(words: str) -> str:
    """`words` anywhere in a text, for ILIKE; what is special there is taken literally."""
    safe = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{safe}%"


# lists that are declared: columns to choose and to sort by, filters, and files of the same rows

Row = TypeVar("Row")
Value = str | Decimal | datetime
LONGEST_VALUE = 200


class FilterKind(StrEnum):
    """How a filter is asked for, and how its value is read."""

    CHOICE = "choice"
    TEXT = "text"
    TICK = "tick"
    DAY_FROM = "day_from"
    DAY_UNTIL = "day_until"
    AMOUNT_FROM = "amount_from"
    AMOUNT_UNTIL = "amount_until"


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Something by which a list is narrowed. `narrow` makes a condition of what was asked, as its kind reads it."""

    name: str
    label: str
    kind: FilterKind
    narrow: Callable[[Any], ColumnElement[bool]]
    options: Sequence[tuple[str, str]] = ()
    is_main: bool = False
    """Whether it stands in the open; the others are folded away until one is used."""
    unset: str = "All"
    """What a choice says while nothing is chosen."""


@dataclass(frozen=True, slots=True)
class ListColumn(Generic[Row]):
    """A column: what a page shows of a row, and what a file says of it.

    `sort` is what it is sorted by; amounts are sorted within each currency.
    """

    key: str
    label: str
    cell: Callable[[Row], Markup | str]
    text: Callable[[Row], str]
    sort: ColumnElement[Any] | None = None
    is_number: bool = False
    is_money: bool = False
    is_name: bool = False
    """Whether it is what a row is called: always shown."""
    is_shown: bool = True
    """Whether it is shown before anybody chooses."""
    is_wide: bool = False
    """Whether a phone has no room for it, unless it was chosen."""


@dataclass(frozen=True, slots=True)
class ListDefinition(Generic[Row]):
    """A list: its rows, before they are narrowed, and what can be done with them."""

    key: str
    path: str
    statement: Select[*tuple[Any, ...]]
    columns: Sequence[ListColumn[Row]]
    filters: Sequence[ListFilter]
    order: Sequence[ColumnElement[Any]]
    """What decides between rows that are sorted alike, and is all of the order before anybody chooses one."""
    rows_of: Callable[[Sequence[Any]], Awaitable[Sequence[Row]]]
    """Rows with everything that their cells show, of what the statement selects."""
    currency: ColumnElement[str] | None = None
    """The currency of a row's amounts."""
    summed: ColumnElement[Any] | None = None
    """What is added up over the whole selection, by currency."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


@dataclass(frozen=True, slots=True)
class ListQuestion(Generic[Row]):
    """What somebody asked of a list, and what is wrong with that, if anything is."""

    definition: ListDefinition[Row]
    listing: Listing
    values: Mapping[str, str]
    """What was typed, by filter."""
    columns: Sequence[ListColumn[Row]]
    conditions: Sequence[ColumnElement[bool]]
    problem: ValidationFailed | None

    @property
    def is_narrowed(self) -> bool:
        return any(self.values.values())

    @property
    def folded(self) -> list[ListFilter]:
        """The filters that are folded away."""
        return [wanted for wanted in self.definition.filters if not wanted.is_main]

    @property
    def used_folded(self) -> int:
        """How many of those are used, for which they are unfolded."""
        return sum(bool(self.values[wanted.name]) for wanted in self.folded)

    @property
    def parameters(self) -> dict[str, str]:
        """The same as an address says it, without the page."""
        asked = {name: value for name, value in self.values.items() if value}
        if self.listing.sort:
            asked |= {"sort": self.listing.sort, "order": "desc" if self.listing.descending else "asc"}
        columns = ",".join(column.key for column in self.columns)
        return {**asked, "columns": columns} if self.has_chosen_columns else asked

    @property
    def has_chosen_columns(self) -> bool:
        """Whether others are shown than before anybody chooses; then a phone shows all of them."""
        return list(self.columns) != [column for column in self.definition.columns if column.is_shown]

    def narrowed(self) -> Select[*tuple[Any, ...]]:
        """The rows that were asked for, in no order."""
        return self.definition.statement.where(*self.conditions)

    def ordered(self) -> Select[*tuple[Any, ...]]:
        """The rows that were asked for, in their order: amounts of one currency after those of another."""
        sorts = [column for column in self.definition.columns if column.key == self.listing.sort]
        order: list[ColumnElement[Any]] = []
        for column in sorts:
            if column.sort is None:
                continue
            if column.is_money and self.definition.currency is not None:
                order.append(self.definition.currency.asc())
            order.append((column.sort.desc() if self.listing.descending else column.sort.asc()).nulls_last())
        return self.narrowed().order_by(*order, *self.definition.order)


def read_question(request: HttpRequest, definition: ListDefinition[Row]) -> ListQuestion[Row]:
    """What the address asks of a list."""
    values = {
        wanted.name: request.query_params.get(wanted.name, "").strip().replace("\x00", "")[:LONGEST_VALUE]
        for wanted in definition.filters
    }
    conditions, problem = [], None
    for wanted in definition.filters:
        if not values[wanted.name]:
            continue
        try:
            conditions.append(wanted.narrow(_value(wanted, values[wanted.name], definition.zone)))
        except ValidationFailed as error:
            problem = problem or error
    sorts = [column.key for column in definition.columns if column.sort is not None]
    return ListQuestion(
        definition=definition,
        listing=listing(request, sorts, ""),
        values=values,
        columns=_chosen_columns(request, definition),
        conditions=conditions,
        problem=problem,
    )


def _chosen_columns(request: HttpRequest, definition: ListDefinition[Row]) -> Sequence[ListColumn[Row]]:
    """The columns that the address names, or those that are shown before anybody chooses."""
    # a form says `columns=a&columns=b`, a saved view `columns=a,b`
    named = {key for value in request.query_params.getall("columns", []) for key in value.split(",")}
    known = [column for column in definition.columns if column.key in named or column.is_name]
    return known if named and known else [column for column in definition.columns if column.is_shown]


def _value(wanted: ListFilter, text: str, zone: ZoneInfo) -> Value:
    """What was typed, as the filter's kind reads it. Raises ValidationFailed naming the filter."""
    match wanted.kind:
        case FilterKind.CHOICE if text not in {value for value, _ in wanted.options}:
            raise ValidationFailed.of(wanted.name, f"'{text}' is none of the choices")
        case FilterKind.DAY_FROM | FilterKind.DAY_UNTIL:
            try:
                day = date.fromisoformat(text) + timedelta(days=wanted.kind is FilterKind.DAY_UNTIL)
                return first_instant_at(datetime.combine(day, time()), zone)
            except (ValueError, OverflowError) as error:
                raise ValidationFailed.of(wanted.name, f"'{text}' is no day; write it as 2027-01-31") from error
        case FilterKind.AMOUNT_FROM | FilterKind.AMOUNT_UNTIL:
            return number_in(wanted.name, text)
    return text


def day_filters(name: str, label: str, column: ColumnElement[Any]) -> tuple[ListFilter, ListFilter]:
    """From a day on, and until another, which is included."""
    return (
        ListFilter(f"{name}-from", f"{label} from", FilterKind.DAY_FROM, lambda start: column >= start),
        ListFilter(f"{name}-until", f"{label} until", FilterKind.DAY_UNTIL, lambda end: column < end),
    )


def amount_filters(name: str, label: str, column: ColumnElement[Any]) -> tuple[ListFilter, ListFilter]:
    """From an amount on, and up to another."""
    return (
        ListFilter(f"{name}-from", f"{label} from", FilterKind.AMOUNT_FROM, lambda least: column >= least),
        ListFilter(f"{name}-until", f"{label} up to", FilterKind.AMOUNT_UNTIL, lambda most: column <= most),
    )
