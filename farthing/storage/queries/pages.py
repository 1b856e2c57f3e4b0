"""A page of rows, what belongs to them, and how many there are: one statement, one snapshot, one round trip.

The conditions and the order are those of `listing`, compiled once for each combination of them. Each part of the
statement answers rows of texts, of as many columns as the widest has; the first column says which part a row is of, the
second to which row of the page it belongs.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ARRAY, BindParameter, Boolean, DateTime, Integer, Numeric, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from farthing.core.encoding.wire import Response
from farthing.core.enums import Status
from farthing.core.event_loop.slices import pause
from farthing.storage.connections.hot_reads import Connection, Prepared, rows_in_transaction
from farthing.storage.queries.listing import PageStatements
from farthing.storage.queries.shapes import RowShape, Texts

Answer = TypeVar("Answer", bound=Response)
Read = Callable[..., Awaitable[list[tuple[Any, ...]]]]
"""Reads the rows of a prepared statement with its arguments: `Database.read_once` of a scope, or a session's."""

_PAGE, _COUNT = "0", "1"
_FIRST_PART = 2
_MOST_KEPT = 500
_FEW_ROWS = 50
_PARAMETER = re.compile(r"\$(\d+)")
_DIALECT: Any = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # as the library has it


@dataclass(frozen=True, eq=False)
class Belonging:
    """Rows that belong to those of a page: of `shape.table`, by its `column`, to the `key` of the page's rows.

    `where` is a condition on the row `r` and `only` one on the page's row `page`, in SQL; `order` that in which the
    rows of one owner come.
    """

    shape: RowShape[Any]
    column: str
    key: str = "id"
    where: str = "true"
    only: str = "true"
    order: str = "r.id"


@dataclass(frozen=True, eq=False)
class PageShape(Generic[Answer]):
    """A list: what its rows are, and what belongs to each of them."""

    shape: RowShape[Answer]
    parts: tuple[Belonging, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadPage(Generic[Answer]):
    """The rows of a page, what belongs to them (a mapping from its key for each part), and the count of all."""

    rows: list[Answer]
    parts: tuple[Mapping[str, list[Any]], ...]
    total: int


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement, and the places of its arguments among the values of a select's cache key."""

    prepared: Prepared
    arguments: tuple[int, ...]
    processors: tuple[Callable[[Any], Any] | None, ...]


_kept: OrderedDict[Any, _Compiled] = OrderedDict()


async def read_page(read: Read, listing: PageShape[Answer], statements: PageStatements) -> ReadPage[Answer]:
    """The rows of a page with their parts, and how many there are."""
    page = statements.page
    key = page._generate_cache_key()
    assert key is not None, "a select has a cache key"
    shape = (listing, statements.counted_by, key.key)
    kept = _kept.get(shape)
    if kept is None:
        kept = _kept[shape] = _compile(listing, statements, key.bindparams)
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    values = [key.bindparams[place].effective_value for place in kept.arguments]
    arguments = [
        value if process is None else process(value) for value, process in zip(values, kept.processors, strict=True)
    ]
    return await _arranged(listing, await read(kept.prepared, *arguments))


async def read_answers(read: Read, listing: PageShape[Answer], statements: PageStatements) -> tuple[list[Answer], int]:
    """The rows of a page to which nothing belongs, and how many there are."""
    found = await read_page(read, listing, statements)
    return found.rows, found.total


async def read_row(read: Read, shape: RowShape[Answer], id: str) -> Answer | None:
    """The answer that the row with this id stands for; None where there is none, or it is deleted."""
    found = shape.answers(await read(_by_id(shape), id), Texts())
    return found[0] if found else None


@cache
def _by_id(shape: RowShape[Any]) -> Prepared:
    table = shape.table.__tablename__
    is_there = f" AND r.status <> '{Status.DELETED}'" if "status" in shape.table.__table__.columns else ""
    sql = f"SELECT {', '.join(shape.columns)} FROM {table} AS r WHERE r.id = $1{is_there}"
    return Prepared(f"{table}_by_id", ("text",), sql)


def rows_of(session: AsyncSession) -> Read:
    """Reads in the transaction of a session, in whose snapshot others read what belongs to the page."""

    async def read(statement: Prepared, *arguments: Any) -> list[tuple[Any, ...]]:
        raw = await (await session.connection()).get_raw_connection()
        return await rows_in_transaction(cast("Connection", raw.driver_connection), statement, *arguments)

    return read


async def _arranged(listing: PageShape[Answer], rows: Sequence[Sequence[Any]]) -> ReadPage[Answer]:
    texts, total = Texts(), 0
    grouped: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for number, owner, *columns in rows:
        grouped[number].append(columns)
        owners[number].append(owner)
    total = int(owners[_COUNT][0])
    parts = []
    for number, part in enumerate(listing.parts, _FIRST_PART):
        found: defaultdict[str, list[Any]] = defaultdict(list)
        answers = await _answers(part.shape, grouped[str(number)], texts)
        for owner, answer in zip(owners[str(number)], answers, strict=True):
            found[owner].append(answer)
        parts.append(found)
    return ReadPage(await _answers(listing.shape, grouped[_PAGE], texts), tuple(parts), total)


async def _answers(shape: RowShape[Answer], rows: Sequence[Sequence[Any]], texts: Texts) -> list[Answer]:
    """The answers that rows stand for; of a long page a few at a time, so that others are answered in between."""
    if len(rows) <= _FEW_ROWS:
        return shape.answers(rows, texts)
    answers: list[Answer] = []
    for first in range(0, len(rows), _FEW_ROWS):
        answers += shape.answers(rows[first : first + _FEW_ROWS], texts)
        await pause()
    return answers


def _compile(listing: PageShape[Any], statements: PageStatements, values: Sequence[BindParameter[Any]]) -> _Compiled:
    places = {bind.key: place for place, bind in enumerate(values)}
    texts: list[str] = []
    arguments: list[int] = []
    processors: list[Callable[[Any], Any] | None] = []
    types: list[str] = []
    for select in (statements.page, statements.count):
        compiled: Any = select.compile(dialect=_DIALECT)
        assert not compiled.post_compile_params, "a list of values is sent as one array"
        texts.append(_numbered_after(len(arguments), compiled.string))
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        for name in compiled.positiontup:
            arguments.append(places[binds[name].key])
            processors.append(compiled._bind_processors.get(name))
            types.append(_type_name(binds[name].type))
    sql = _sql(listing, *texts)
    name = f"page_{hashlib.sha256(sql.encode()).hexdigest()[:24]}"
    return _Compiled(Prepared(name, tuple(types), sql), tuple(arguments), tuple(processors))


def _numbered_after(before: int, text: str) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + before}", text)


def _sql(listing: PageShape[Any], page: str, count: str) -> str:
    width = max(len(shape.columns) for shape in (listing.shape, *(part.shape for part in listing.parts)))

    def columns(shape: RowShape[Any]) -> str:
        return ", ".join([*shape.columns, *["NULL"] * (width - len(shape.columns))])

    branches = [
        f"SELECT '{_PAGE}', NULL, {columns(listing.shape)} FROM page AS r",
        f"SELECT '{_COUNT}', ({count})::text, {', '.join(['NULL'] * width)}",
    ]
    for number, part in enumerate(listing.parts, _FIRST_PART):
        # each owner's rows by themselves: however many rows the page is thought to have, they come from the index
        branches.append(
            f"(SELECT '{number}', r.\"{part.column}\", {columns(part.shape)} "
            f'FROM (SELECT DISTINCT page."{part.key}" AS key FROM page WHERE {part.only}) AS owner '
            f"CROSS JOIN LATERAL (SELECT r.* FROM {part.shape.table.__tablename__} AS r "
            f'WHERE r."{part.column}" = owner.key AND {part.where} ORDER BY {part.order} OFFSET 0) AS r)'
        )
    return f"WITH page AS MATERIALIZED ({page}) " + " UNION ALL ".join(branches)


def _type_name(kind: TypeEngine[Any]) -> str:
    if isinstance(kind, ARRAY):
        return f"{_type_name(kind.item_type)}[]"
    for known, name in (
        (String, "text"),
        (DateTime, "timestamptz"),
        (Boolean, "boolean"),
        (Integer, "bigint"),
        (Numeric, "numeric"),
        (JSONB, "jsonb"),
    ):
        if isinstance(kind, known):
            return name
    raise TypeError(f"no list is narrowed by {kind!r}")
