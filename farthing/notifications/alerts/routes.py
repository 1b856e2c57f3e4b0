"""Endpoints of alerts and their settings."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.core.clock import Clock
from farthing.notifications.alert_tables import AlertSetting
from farthing.notifications.alerts import settings
from farthing.notifications.alerts.reads import alert_answers, alerts_page, setting_answer
from farthing.notifications.alerts.schemas import (
    AlertLogQuery,
    AlertSettingsQuery,
    AlertSettingsResponse,
    CreateAlertSettingsRequest,
    ListAlertLogsResponse,
    ListAlertSettingsResponse,
    UpdateAlertSettingsRequest,
)
from farthing.storage.queries.rows import find

READ, WRITE = needs("alert_settings", "read"), needs("alert_settings", "write")
EXPANDABLE = dict.fromkeys(("customer", "wallet", "feature"), frozenset[str]())


class Alerts(Controller):
    """What came to a threshold, and left it again."""

    path = "/alerts"
    tags = ("Alerts",)

    @post("/search", operation_id="queryAlertLog", guards=[READ], status_code=200)
    async def search(self, session: AsyncSession, data: AlertLogQuery | None = None) -> ListAlertLogsResponse:
        """Search alerts, newest first."""
        query = data or AlertLogQuery()
        wanted = expansions(query.expand, EXPANDABLE)
        rows, total = await alerts_page(session, query)
        answers = await alert_answers(session, rows, wanted)
        answer: ListAlertLogsResponse = page(answers, total, query, next_offset=True)
        return answer


class AlertSettingsByEntity(Controller):
    """Thresholds for spend."""

    path = "/alerts/setting"
    tags = ("AlertSettings",)

    @post("/", operation_id="createAlertSettings", guards=[WRITE])
    async def create(
        self, data: CreateAlertSettingsRequest, session: AsyncSession, clock: Clock
    ) -> AlertSettingsResponse:
        """Watch the spend of a subscription, or of a line item or a group of it."""
        return setting_answer(await settings.create_setting(session, data, clock.now()))

    @post("/search", operation_id="queryAlertSettings", guards=[READ], status_code=200)
    async def search(self, session: AsyncSession, data: AlertSettingsQuery | None = None) -> ListAlertSettingsResponse:
        """Search settings."""
        query = data or AlertSettingsQuery()
        expansions(query.expand, {})
        rows, total = await settings.settings_page(session, query)
        answers = [setting_answer(row) for row in rows]
        answer: ListAlertSettingsResponse = page(answers, total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getAlertSettings", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> AlertSettingsResponse:
        """Get settings."""
        return setting_answer(await find(session, AlertSetting, id))

    @put("/{id:str}", operation_id="updateAlertSettings", guards=[WRITE])
    async def update(
        self, id: str, data: UpdateAlertSettingsRequest, session: AsyncSession, clock: Clock
    ) -> AlertSettingsResponse:
        """Replace thresholds as a whole."""
        return setting_answer(await settings.update_setting(session, id, data, clock.now()))

    @delete("/{id:str}", operation_id="deleteAlertSettings", guards=[WRITE], status_code=204)
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Watch no more."""
        await settings.delete_setting(session, id)
