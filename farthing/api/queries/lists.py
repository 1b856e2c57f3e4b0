"""Lists: the query string or search body that asks for a page, and the page as it travels."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request as HttpRequest

from farthing.api.ignored_fields import note_ignored_fields
from farthing.api.work import UnitOfWork
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.wire import Request, Response
from farthing.storage.queries.listing import ListQuery, Pagination
from farthing.storage.queries.pages import Read, rows_of

Item = TypeVar("Item")
Query = TypeVar("Query", bound=Request)


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


async def reader(work: UnitOfWork, query: ListQuery) -> Read:
    """How a page is read: by itself where it is plain, else in the request's session, planned for its values."""
    return work.read_once if query.is_plain else rows_of(await work.admitted_session())


def read_query(request: HttpRequest[Any, Any, Any], struct: type[Query]) -> Query:
    """The query string as `struct`. Repeated parameters and comma-separated ones both make lists; blanks are dropped.

    A route that calls it declares `opt={"query": struct}`, from which the OpenAPI document gets the parameters.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    hints = query_fields(struct)
    for name, given in request.query_params.dict().items():
        kind = hints.get(name)
        if kind is None:
            unknown.append(name)
            continue
        texts = [str(text) for text in given]
        if kind.is_list:
            values[name] = [piece for text in texts for piece in text.split(",") if piece]
        elif texts[-1] != "":
            values[name] = texts[-1]
    note_ignored_fields(request, unknown)
    return convert(values, struct, strict=False)


class QueryField(msgspec.Struct, frozen=True):
    """One parameter of a query string."""

    annotation: Any
    is_list: bool


_NOT_IN_QUERY = {"filters"}


@cache
def query_fields(struct: type[msgspec.Struct]) -> dict[str, QueryField]:
    """The parameters a struct stands for in a query string: its fields, but for those only a body can hold."""
    fields: dict[str, QueryField] = {}
    for name, annotation in typing.get_type_hints(struct, include_extras=True).items():
        if name in _NOT_IN_QUERY or name not in struct.__struct_fields__:
            continue
        if name == "sort":
            fields[name] = QueryField(str | None, is_list=False)
            continue
        fields[name] = QueryField(annotation, _is_list(annotation))
    return fields


def _is_list(annotation: Any) -> bool:
    """Whether it is a list, possibly optional or with limits attached."""
    return typing.get_origin(annotation) is list or any(
        _is_list(part) for part in typing.get_args(annotation) if typing.get_origin(annotation) is not dict
    )
