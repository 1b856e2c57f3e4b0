"""The demo's export: invoices to a folder of the deployment, every day, of which one run was made."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from farthing.core.clock import FixedClock
from farthing.core.encoding.decoding import convert
from farthing.demo.books import Ledger
from farthing.payments.integration_schemas import CreateConnectionRequest
from farthing.payments.integrations import connections
from farthing.settings import Settings
from farthing.transfer.exports.run import ExportContext, run_export
from farthing.transfer.schedules import lifecycle
from farthing.transfer.schemas import CreateScheduledTaskRequest, TriggerForceRunRequest
from farthing.transfer.tables import ScheduledTask
from farthing.transfer.tasks.lifecycle import begin_attempt


async def load_export(ledger: Ledger, settings: Settings, now: datetime) -> bool:
    """Make the scheduled export and its run if they are not there; nothing where the deployment has no folder."""
    if settings.export_folder is None:
        return False
    async with ledger.database.transaction(ledger.scope) as session:
        if await session.scalar(select(ScheduledTask.id).limit(1)) is not None:
            return False
        folder = convert({"name": "Folder of exports", "provider_type": "local"}, CreateConnectionRequest)
        connection = await connections.create(session, ledger.gateways.safe, folder)
        body = {"connection_id": connection.id, "entity_type": "invoice", "interval": "daily", "job_config": {}}
        schedule = await lifecycle.create(session, convert(body, CreateScheduledTaskRequest), now)
        task, _ = await lifecycle.force_run(session, schedule.id, TriggerForceRunRequest(), now)
        run = await begin_attempt(session, task.id, now)
    assert run is not None, "it was made just now"
    await run_export(ExportContext(ledger.database, settings, ledger.scope, FixedClock(now)), run)
    return True
