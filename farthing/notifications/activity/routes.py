"""HTTP endpoints of the activity log."""

from __future__ import annotations

from litestar import Controller, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import Caller
from farthing.notifications.activity import reading
from farthing.notifications.activity.schemas import ActivityResponse, ListActivityRequest, ListActivityResponse

READ = needs("setting", "read")


class ActivityLog(Controller):
    """The log, and each entry."""

    path = "/activity"
    tags = ("Activity",)

    @post("/", operation_id="listActivity", guards=[READ], status_code=200)
    async def browse(
        self, session: AsyncSession, caller: Caller, data: ListActivityRequest | None = None
    ) -> ListActivityResponse:
        """List activities, newest first."""
        return await reading.list_activity(session, caller, data or ListActivityRequest())

    @get("/{id:str}", operation_id="getActivity", guards=[READ])
    async def read(self, id: str, session: AsyncSession, caller: Caller) -> ActivityResponse:
        """Get an activity with the entity's state and what changed."""
        return await reading.read_activity(session, caller, id)
