"""The newest activities of one thing, for the page that shows it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import READ
from farthing.notifications.activity.reading import list_activity
from farthing.notifications.activity.schemas import ActivityResponse, ListActivityRequest
from farthing.web.access.visitors import visitor_of
from farthing.web.dashboard.activity_names import name_entities
from farthing.web.rendering.answers import HttpRequest

SHOWN = 10


async def newest_activities(
    request: HttpRequest, session: AsyncSession, *, customer_id: str = "", entity_id: str = "", entity_type: str = ""
) -> Sequence[ActivityResponse] | None:
    """What happened lately around a customer or to an entity; None for a visitor who may not read the log."""
    if not visitor_of(request).may(READ, "setting"):
        return None
    query = ListActivityRequest(
        customer_id=customer_id or None, entity_id=entity_id or None, entity_type=entity_type or None, limit=SHOWN
    )
    activities = (await list_activity(session, visitor_of(request).caller, query, with_changes=True)).items
    await name_entities(session, activities)
    return activities
