"""A declared list as a page and as a file: the same rows and the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

from litestar import Response
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE, csv_bytes
from farthing.core.encoding.file_names import content_disposition
from farthing.core.errors import ValidationFailed
from farthing.web.access.visitors import visitor_of
from farthing.web.dashboard.lists.saved_views import saved_views
from farthing.web.rendering.answers import HEADERS, HttpRequest, render
from farthing.web.rendering.listing import ListDefinition, ListQuestion, read_question
from farthing.web.rendering.words.wording import reason, with_query

Row = TypeVar("Row")

MOST_EXPORTED = 50_000
"""Rows of one file; a longer list is narrowed first."""
ROWS_AT_ONCE = 1_000


async def show_list(
    request: HttpRequest,
    session: AsyncSession,
    template: str,
    definition: ListDefinition[Row],
    **more: Any,
) -> Response[str]:
    """A page of a list. The template has `asked`, `rows`, and what else it is given."""
    asked = read_question(request, definition)
    views = await saved_views(session, visitor_of(request).caller.user_id or "", definition.key)
    rows: Sequence[Row] = []
    sums: dict[str, Decimal] = {}
    if asked.problem is None:
        at = asked.listing
        at.total, sums = await _totals(session, asked)
        found = (await session.execute(asked.ordered().limit(at.per_page).offset(at.offset))).all()
        rows = await definition.rows_of(found)
    return render(
        request,
        template,
        asked=asked,
        rows=rows,
        sums=sums,
        problem="" if asked.problem is None else reason(asked.problem),
        views=[(view, with_query(dict(view.parameters))) for view in views],
        **more,
    )


async def _totals(session: AsyncSession, asked: ListQuestion[Any]) -> tuple[int, dict[str, Decimal]]:
    """How many rows the whole selection has, and what they come to in each currency."""
    code, summed = asked.definition.currency, asked.definition.summed
    if code is None or summed is None:
        counted = asked.narrowed().with_only_columns(func.count(), maintain_column_froms=True)
        return await session.scalar(counted) or 0, {}
    by_currency = asked.narrowed().with_only_columns(code, func.count(), func.sum(summed)).group_by(code).order_by(code)
    found = (await session.execute(by_currency)).all()
    return sum(count for _, count, _ in found), {currency: amount for currency, _, amount in found}


async def file_of_list(request: HttpRequest, session: AsyncSession, definition: ListDefinition[Row]) -> Response[bytes]:
    """Every row of a list with the columns that are shown. Raises ValidationFailed, also for too many rows."""
    asked = read_question(request, definition)
    if asked.problem is not None:
        raise asked.problem
    found = (await session.execute(asked.ordered().limit(MOST_EXPORTED + 1))).all()
    if len(found) > MOST_EXPORTED:
        raise ValidationFailed.of("filters", f"leave more than {MOST_EXPORTED:,} rows; narrow the list first")
    lines: list[list[str]] = []
    for start in range(0, len(found), ROWS_AT_ONCE):
        rows = await definition.rows_of(found[start : start + ROWS_AT_ONCE])
        lines += [[column.text(row) for column in asked.columns] for row in rows]
    headers = {**HEADERS, "content-disposition": content_disposition("attachment", f"{definition.key}.csv")}
    return Response(csv_bytes(_head(asked), lines), media_type=CSV_MEDIA_TYPE, headers=headers)


def _head(asked: ListQuestion[Any]) -> list[str]:
    return [column.label for column in asked.columns]
