"""A company that sends files in and gets files out, with a worker that works when it is told to."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.transfer.running import TaskRunner
from tests.account import Account


class TransferOffice:
    """Uploads, imports and exports of one account."""

    def __init__(self, account: Account, database: Database, settings: Settings) -> None:
        self.account = account
        self.database = database
        self.settings = settings
        self.frozen: datetime | None = None

    def with_settings(self, **given: Any) -> TransferOffice:
        """The same with a deployment of other settings."""
        office = TransferOffice(self.account, self.database, msgspec.structs.replace(self.settings, **given))
        office.frozen = self.frozen
        return office

    @property
    def scope(self) -> Scope:
        return Scope(self.account.tenant_id, self.account.environment_id)

    async def upload(self, content: bytes, name: str = "file.csv") -> str:
        """Upload a file; the id of the upload."""
        response = await self.account.http.post("/tasks/uploads", content=content, headers={"x-file-name": name})
        assert response.status_code == 201, response.text
        return str(response.json()["upload_id"])

    async def begin_import(self, entity: str, content: bytes, file_type: str = "CSV", **fields: Any) -> str:
        """Queue an import of a file; the id of the task."""
        upload_id = await self.upload(content)
        body = {
            "task_type": "IMPORT",
            "entity_type": entity,
            "file_type": file_type,
            "file_provider": "farthing",
            "upload_id": upload_id,
            **fields,
        }
        return str((await self.account.post("/tasks", body, expect=200))["workflow_id"])

    async def imported(self, entity: str, content: bytes, file_type: str = "CSV", **fields: Any) -> dict[str, Any]:
        """Import a file to the end; the task."""
        task_id = await self.begin_import(entity, content, file_type, **fields)
        await self.work()
        return await self.task(task_id)

    async def task(self, task_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.account.get(f"/tasks/{task_id}")
        return answer

    async def problems(self, task_id: str) -> list[tuple[int, str, str]]:
        """Row, column and reason of all that is wrong, from the file."""
        response = await self.account.http.get(f"/tasks/{task_id}/problems/csv")
        assert response.status_code == 200, response.text
        rows = list(csv.DictReader(io.StringIO(response.text)))
        return [(int(row["row"]), row["column"], row["reason"]) for row in rows]

    async def work(self) -> TaskRunner:
        """Let a worker run what is queued in this environment."""

        async def environments() -> Sequence[tuple[Scope, datetime | None]]:
            return [(self.scope, self.frozen)]

        runner = TaskRunner(self.database, self.settings, environments)
        await runner.run()
        return runner

    async def local_connection(self) -> str:
        """A connection to the folder of exports."""
        answer = await self.account.post("/connections", {"name": "Folder", "provider_type": "local"}, expect=201)
        return str(answer["id"])

    async def schedule(self, entity: str, connection_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """A scheduled task."""
        body = {
            "connection_id": connection_id or await self.local_connection(),
            "entity_type": entity,
            "interval": "hourly",
            "job_config": {},
            **fields,
        }
        answer: dict[str, Any] = await self.account.post("/tasks/scheduled", body, expect=201)
        return answer

    async def export(self, schedule: dict[str, Any], **window: str) -> dict[str, Any]:
        """Run a scheduled task by hand to the end; the task."""
        run = await self.account.post(f"/tasks/scheduled/{schedule['id']}/run", window or None, expect=200)
        await self.work()
        return await self.task(run["workflow_id"])

    def file_of(self, task: dict[str, Any]) -> Path:
        """Where a local export lies."""
        return Path(task["file_url"].removeprefix("file://"))

    def table_of(self, task: dict[str, Any]) -> list[dict[str, str]]:
        """The rows of a local export."""
        return list(csv.DictReader(io.StringIO(self.file_of(task).read_text())))
