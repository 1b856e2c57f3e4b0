"""Views: questions that are kept, edited and asked again.

Rule: docs/rules/reporting.md#views
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import convert
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.invoices.reads.letterhead import seller_zone
from farthing.reporting.analytics.definition import check_definition
from farthing.reporting.analytics.schemas import (
    AnalyticsViewDefinition,
    AnalyticsViewResponse,
    MetricFamily,
    SaveAnalyticsViewRequest,
)
from farthing.reporting.analytics.tables import AnalyticsView
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import lock_row, not_found, unique

MOST_VIEWS = 200

# views are made one after the other in an environment, so that none is made beyond the limit
_IN_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('analytics views ' || :environment, 0))")


async def create_view(session: AsyncSession, request: SaveAnalyticsViewRequest, now: datetime) -> AnalyticsView:
    """Keep a question. Raises ValidationFailed, AlreadyExists; InvalidOperation when there are too many."""
    family = await _checked(session, request.definition, now)
    await session.execute(_IN_TURN, {"environment": scope_of(session).environment_id})
    if (await session.scalar(select(func.count()).select_from(AnalyticsView)) or 0) >= MOST_VIEWS:
        raise InvalidOperation(f"An environment has at most {MOST_VIEWS} views; delete one first", {})
    view = AnalyticsView(
        id=new_id(Kind.ANALYTICS_VIEW),
        name=request.name,
        family=family,
        definition=_stored(request.definition),
        version=1,
    )
    async with unique(session, uq_analytics_views_name=_taken(request.name)):
        session.add(view)
    return view


async def update_view(
    session: AsyncSession, view_id: str, request: SaveAnalyticsViewRequest, now: datetime
) -> AnalyticsView:
    """Replace a view's name and question. Raises NotFound, ValidationFailed, AlreadyExists."""
    view = await lock_row(session, AnalyticsView, view_id)
    family = await _checked(session, request.definition, now)
    async with unique(session, uq_analytics_views_name=_taken(request.name)):
        view.name, view.family, view.definition = request.name, family, _stored(request.definition)
        view.version += 1
        view.updated_at = now
    return view


async def delete_view(session: AsyncSession, view_id: str) -> None:
    """Remove a view. Raises NotFound."""
    deleted = await session.execute(
        delete(AnalyticsView).where(AnalyticsView.id == view_id).returning(AnalyticsView.id)
    )
    if deleted.one_or_none() is None:
        raise not_found(AnalyticsView, view_id)


async def list_views(session: AsyncSession, family: MetricFamily | None) -> Sequence[AnalyticsView]:
    """Every view, or those of a family, by name."""
    query = select(AnalyticsView).order_by(AnalyticsView.name, AnalyticsView.id)
    if family is not None:
        query = query.where(AnalyticsView.family == family)
    return (await session.scalars(query)).all()


def definition_of(view: AnalyticsView) -> AnalyticsViewDefinition:
    """The question that a view keeps."""
    return convert(view.definition, AnalyticsViewDefinition)


def view_answer(view: AnalyticsView) -> AnalyticsViewResponse:
    """A view as it travels."""
    return AnalyticsViewResponse.of(view)


async def _checked(session: AsyncSession, definition: AnalyticsViewDefinition, now: datetime) -> MetricFamily:
    return check_definition(definition, await seller_zone(session), now)


def _stored(definition: AnalyticsViewDefinition) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(definition).items() if value is not None}


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"A view with the name '{name}' exists", {"name": name})
