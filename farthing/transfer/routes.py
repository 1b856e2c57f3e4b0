"""Endpoints of tasks, of files to import, and of scheduled tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.response import Stream
from procrastinate import App
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.api.work import unit_of_work
from farthing.core.caller import Caller
from farthing.core.clock import Clock, instant
from farthing.core.composition import Composition
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE
from farthing.core.encoding.file_names import content_disposition
from farthing.core.encoding.wire import Message
from farthing.core.errors import NotFound, UnsupportedEncoding, ValidationFailed
from farthing.identity.credentials.links import open_link, reader_of, require_open
from farthing.identity.credentials.master_key import MasterKeys
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.listing import ListQuery
from farthing.storage.queries.rows import find
from farthing.transfer import files
from farthing.transfer.exports import links
from farthing.transfer.exports.places import LocalFolder
from farthing.transfer.schedules import lifecycle
from farthing.transfer.schemas import (
    CreateScheduledTaskRequest,
    CreateTaskRequest,
    ListScheduledTasksResponse,
    ListTaskProblemsResponse,
    ListTasksResponse,
    ScheduledTaskQuery,
    ScheduledTaskResponse,
    SuccessResponse,
    TaskDownloadResponse,
    TaskProblemResponse,
    TaskQuery,
    TaskResponse,
    TemporalWorkflowResult,
    TriggerForceRunRequest,
    TriggerForceRunResponse,
    UpdateScheduledTaskRequest,
    UpdateTaskStatusRequest,
    UploadResponse,
)
from farthing.transfer.tables import ScheduledTask, Task
from farthing.transfer.tasks import lifecycle as task_lifecycle
from farthing.transfer.tasks.creation import create_import, require_may_import, task_answer, tasks_page
from farthing.transfer.tasks.problems import list_problems, problems_as_csv
from farthing.transfer.tasks.queueing import run_soon

HttpRequest = Request[Any, Any, Any]
READ, WRITE = needs("task", "read"), needs("task", "write")
FILE_NAME = "x-file-name"
_READ_AT_ONCE = 256 * 1024


class Tasks(Controller):
    """Imports, and runs of exports."""

    path = "/tasks"
    tags = ("Tasks",)

    @post("/", operation_id="createTask", guards=[WRITE], status_code=200)
    async def create(
        self, data: CreateTaskRequest, session: AsyncSession, caller: Caller, services: Composition
    ) -> TemporalWorkflowResult:
        """Import a file, or try whether it could be imported."""
        require_may_import(caller, data.entity_type)
        task = await create_import(session, data, services.part(Settings))
        await run_soon(session, services.part(App))
        return _begun(task, "import started")

    @get("/", operation_id="listTasks", guards=[READ], opt={"query": TaskQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListTasksResponse:
        """List imports and runs of exports, newest first."""
        query = read_query(request, TaskQuery)
        rows, total = await tasks_page(session, query)
        answer: ListTasksResponse = page([task_answer(row) for row in rows], total, query, next_offset=False)
        return answer

    @post("/uploads", operation_id="uploadTaskFile", guards=[WRITE], status_code=201)
    async def upload(self, request: HttpRequest, caller: Caller, services: Composition) -> UploadResponse:
        """Upload the file of an import: the body is the file, as it is or compressed with gzip."""
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise UnsupportedEncoding("Unsupported content encoding", {"Content-Encoding": "use gzip or identity"})
        database = services.part(Database)
        now = database.clock.now()
        name = unquote(request.headers.get(FILE_NAME, "")).replace("\x00", "")
        file_id, size = await files.receive_file(database, unit_of_work(request).scope, name, request.stream(), now)
        return UploadResponse(upload_id=file_id, size=size, expires_at=instant(now + files.UPLOAD_KEPT))

    @get("/result", operation_id="getTaskResult", guards=[READ])
    async def result(self, session: AsyncSession, workflow_id: str | None = None) -> TemporalWorkflowResult:
        """What became of an import or export, by the id of its workflow, which is required."""
        if not workflow_id:
            raise ValidationFailed.of("workflow_id", "is required")
        task = await find(session, Task, workflow_id)
        return _begun(task, task.error_summary or f"task is {task.task_status.value}")

    @get("/{id:str}", operation_id="getTask", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> TaskResponse:
        """Get a task, and how far it is."""
        return task_answer(await find(session, Task, id))

    @put("/{id:str}/status", operation_id="updateTaskStatus", guards=[WRITE])
    async def set_status(
        self, id: str, data: UpdateTaskStatusRequest, session: AsyncSession, clock: Clock
    ) -> SuccessResponse:
        """Set the status by hand; that runs nothing."""
        await task_lifecycle.set_status(session, id, data.task_status, clock.now())
        return SuccessResponse(message="task status updated")

    @post("/{id:str}/cancel", operation_id="cancelTask", guards=[WRITE], status_code=200)
    async def cancel(self, id: str, session: AsyncSession, clock: Clock) -> TaskResponse:
        """Stop a task; what it did stays done."""
        return task_answer(await task_lifecycle.cancel(session, id, clock.now()))

    @post("/{id:str}/retry", operation_id="retryTask", guards=[WRITE], status_code=200)
    async def retry(self, id: str, session: AsyncSession, services: Composition) -> TaskResponse:
        """Go on with a task that failed, after the last rows that were done."""
        task = await task_lifecycle.retry(session, id)
        await run_soon(session, services.part(App))
        return task_answer(task)

    @get("/{id:str}/problems", operation_id="listTaskProblems", guards=[READ], opt={"query": ListQuery})
    async def problems(self, id: str, request: HttpRequest, session: AsyncSession) -> ListTaskProblemsResponse:
        """List the rows of an import that failed, and why."""
        query = read_query(request, ListQuery)
        task = await find(session, Task, id)
        rows, total = await list_problems(session, task.id, query.page_size, query.skip)
        items = [TaskProblemResponse.of(row) for row in rows]
        answer: ListTaskProblemsResponse = page(items, total, query, next_offset=False)
        return answer

    @get("/{id:str}/problems/csv", operation_id="downloadTaskProblems", guards=[READ], media_type=CSV_MEDIA_TYPE)
    async def problems_csv(
        self, id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[Any]:
        """The same as a table for spreadsheets, with every row."""
        task = await find(session, Task, id)
        return problems_answer(services.part(Database), request, task)

    @get("/{id:str}/download", operation_id="downloadTaskExport", guards=[READ])
    async def download(
        self, id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> TaskDownloadResponse:
        """An address that opens an export's file for half an hour, without credentials."""
        now = services.part(Database).clock.now()
        scope = unit_of_work(request).scope
        link = await links.download_link(session, services.part(Settings), scope, id, now)
        return TaskDownloadResponse(download_url=link)


class ScheduledTasks(Controller):
    """What is exported again and again."""

    path = "/tasks/scheduled"
    tags = ("Scheduled Tasks",)

    @post("/", operation_id="createScheduledTask", guards=[WRITE])
    async def create(
        self, data: CreateScheduledTaskRequest, session: AsyncSession, clock: Clock
    ) -> ScheduledTaskResponse:
        """Export something again and again."""
        return lifecycle.schedule_answer(await lifecycle.create(session, data, clock.now()))

    @get("/", operation_id="listScheduledTasks", guards=[READ], opt={"query": ScheduledTaskQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListScheduledTasksResponse:
        """List scheduled tasks, newest first."""
        query = read_query(request, ScheduledTaskQuery)
        rows, total = await lifecycle.schedules_page(session, query)
        items = [lifecycle.schedule_answer(row) for row in rows]
        answer: ListScheduledTasksResponse = page(items, total, query, next_offset=False)
        return answer

    @get("/{id:str}", operation_id="getScheduledTask", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> ScheduledTaskResponse:
        """Get a scheduled task."""
        return lifecycle.schedule_answer(await find(session, ScheduledTask, id))

    @put("/{id:str}", operation_id="updateScheduledTask", guards=[WRITE])
    async def update(
        self, id: str, data: UpdateScheduledTaskRequest, session: AsyncSession, clock: Clock
    ) -> ScheduledTaskResponse:
        """Switch a scheduled task on or off."""
        row = await lifecycle.set_enabled(session, id, enabled=data.enabled, now=clock.now())
        return lifecycle.schedule_answer(row)

    @delete("/{id:str}", operation_id="deleteScheduledTask", guards=[WRITE], status_code=204)
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Archive a scheduled task."""
        await lifecycle.archive(session, id)

    @post("/{id:str}/run", operation_id="triggerScheduledTaskRun", guards=[WRITE], status_code=200)
    async def run(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        services: Composition,
        data: TriggerForceRunRequest | None = None,
    ) -> TriggerForceRunResponse:
        """Export the last whole interval now, or a window of your own."""
        task, mode = await lifecycle.force_run(session, id, data or TriggerForceRunRequest(), clock.now())
        await run_soon(session, services.part(App))
        assert task.window_start is not None
        assert task.window_end is not None
        return TriggerForceRunResponse(
            workflow_id=task.id,
            message="export started",
            start_time=instant(task.window_start),
            end_time=instant(task.window_end),
            mode=mode,
        )


class BillingTriggers(Controller):
    """Running what bills by itself now, under names that older clients use."""

    path = "/tasks/scheduled"
    tags = ("Scheduled Tasks",)

    @post(
        "/schedule-update-billing-period",
        operation_id="scheduleUpdateBillingPeriod",
        guards=[WRITE],
        status_code=200,
    )
    async def update_billing_period(self, session: AsyncSession, services: Composition) -> Message:
        """Let the subscriptions whose periods ended move on now. It is harmless to ask again."""
        await run_soon(session, services.part(App), "subscription_billing")
        return Message(message="billing of periods that ended was started")

    @post("/schedule-draft-finalization", operation_id="scheduleDraftFinalization", guards=[WRITE], status_code=200)
    async def finalize_drafts(self, session: AsyncSession, services: Composition) -> Message:
        """Let the drafts that are due become final now. It is harmless to ask again."""
        await run_soon(session, services.part(App), "draft_invoice_finalization")
        return Message(message="finalization of drafts that are due was started")


@get("/tasks/files/{token:str}", include_in_schema=False, opt={"public": True})
async def open_exported_file(token: str, request: HttpRequest, services: Composition) -> Response[Any]:
    """An export's file by its link: public, for the link itself is the credential."""
    now = services.part(Database).clock.now()
    link = open_link(links.EXPORTED_FILE, token, services.part(MasterKeys).accepted(now), now)
    work = unit_of_work(request)
    work.begin(reader_of(link), read_only=True)
    await work.admit()
    await require_open(work.session, link)
    task, place = await links.place_of_file(work.session, services.part(Settings), link.scope, link.subject_id)
    if not isinstance(place, LocalFolder):
        raise NotFound("The file is not kept here")
    path = place.path_of(task.location)
    if not path.is_file():
        raise NotFound("The file is not kept any more; run the export again", {"task_id": task.id})
    headers = {
        "Content-Disposition": content_disposition("attachment", path.name),
        "Content-Length": str(path.stat().st_size),
        "Cache-Control": "no-store",
    }
    return Stream(_contents(path), media_type="application/octet-stream", headers=headers)


async def _contents(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while content := file.read(_READ_AT_ONCE):
            yield content


def problems_answer(database: Database, request: HttpRequest, task: Task) -> Response[Any]:
    """What is wrong with the rows of an import, as a file."""
    headers = {"Content-Disposition": content_disposition("attachment", f"{task.id}-problems.csv")}
    content = problems_as_csv(database, unit_of_work(request).scope, task.id)
    return Stream(content, media_type=CSV_MEDIA_TYPE, headers=headers)


def _begun(task: Task, message: str) -> TemporalWorkflowResult:
    return TemporalWorkflowResult(message=message, workflow_id=task.id, run_id=f"{task.id}_{task.attempt}")
