"""Imports and exports: files in with what is wrong in them, files out, and what is exported on schedule."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.response import Redirect
from procrastinate import App
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.api.work import unit_of_work
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.payments.integration_schemas import CreateConnectionRequest
from farthing.payments.integrations import connections
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.tables import Connection, ProviderType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find
from farthing.transfer import files
from farthing.transfer.enums import ExportEntity, ScheduleInterval, TaskStatus, TaskType
from farthing.transfer.exports import links
from farthing.transfer.routes import problems_answer
from farthing.transfer.schedules import lifecycle
from farthing.transfer.schemas import (
    FARTHING,
    CreateScheduledTaskRequest,
    CreateTaskRequest,
    ScheduledTaskQuery,
    TaskQuery,
    TriggerForceRunRequest,
)
from farthing.transfer.tables import ScheduledTask, Task
from farthing.transfer.tasks import lifecycle as task_lifecycle
from farthing.transfer.tasks.creation import create_import, progress_of, require_may_import, tasks_page
from farthing.transfer.tasks.problems import list_problems
from farthing.transfer.tasks.queueing import run_soon
from farthing.web.access.upload_form import UploadForm
from farthing.web.access.visitors import changes, form_of, shows, uploads, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing

PAGE = "/tasks"
MOST_SCHEDULES = 200
PROBLEMS_SHOWN = 50
IMPORTED = {"CUSTOMERS": "Customers", "EVENTS": "Events", "FEATURES": "Features", "PRICES": "Prices"}
EXPORTED = {
    ExportEntity.EVENTS: "Events",
    ExportEntity.INVOICE: "Invoices",
    ExportEntity.CREDIT_TOPUPS: "Credits added",
    ExportEntity.WALLET_DEBITS: "Credits taken",
    ExportEntity.CREDIT_USAGE: "Balances of credits",
    ExportEntity.USAGE_ANALYTICS: "Usage and its cost",
    ExportEntity.REVENUE_FACTS: "Revenue by day",
}
INTERVALS = {
    ScheduleInterval.DAILY: "Every day",
    ScheduleInterval.HOURLY: "Every hour",
    ScheduleInterval.HALF_HOUR: "Every 30 minutes",
    ScheduleInterval.QUARTER_HOUR: "Every 15 minutes",
}
WORDS = {**IMPORTED, **{entity.value: words for entity, words in EXPORTED.items()}}
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")


class TransferPages(Controller):
    """Tasks and scheduled tasks."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("task")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Imports and exports, newest first, and what is exported on schedule."""
        shown = listing(request, (), "")
        state, kind = request.query_params.get("state", ""), request.query_params.get("type", "")
        query = TaskQuery(
            limit=shown.per_page,
            offset=shown.offset,
            task_status=TaskStatus(state) if state in set(TaskStatus) else None,
            task_type=TaskType(kind) if kind in set(TaskType) else None,
        )
        rows, shown.total = await tasks_page(session, query)
        schedules, _ = await lifecycle.schedules_page(session, ScheduledTaskQuery(limit=MOST_SCHEDULES))
        places = await _places(session)
        return render(
            request,
            "tasks.html",
            tasks=rows,
            listing=shown,
            state=state,
            kind=kind,
            states=[(each.value, each.value.capitalize()) for each in TaskStatus],
            schedules=schedules,
            places={place.id: place.name for place in places},
            choices=[(place.id, place.name) for place in places if place.status is Status.PUBLISHED],
            words=WORDS,
            imported=list(IMPORTED.items()),
            exported=[(entity.value, words) for entity, words in EXPORTED.items()],
            intervals={interval.value: words for interval, words in INTERVALS.items()},
            progress=progress_of,
        )

    @post("/imports", guards=[uploads("task")])
    async def begin_import(self, request: HttpRequest, services: Composition) -> Response[Any]:
        """Take a file and import it, or try whether it could be. While it arrives it holds no turn at the database."""
        form = UploadForm(request)
        await form.read_fields()
        database, caller = services.part(Database), visitor_of(request).caller
        try:
            body = {
                "task_type": TaskType.IMPORT.value,
                "entity_type": form.fields.get("entity", ""),
                "file_type": "JSON" if form.file_name.lower().endswith(_JSON_ENDINGS) else "CSV",
                "file_provider": FARTHING,
                "upload_id": "to come",
                "dry_run": form.fields.get("try") == "yes",
            }
            asked = convert(body, CreateTaskRequest)
            require_may_import(caller, asked.entity_type)
            now, work = database.clock.now(), unit_of_work(request)
            asked.upload_id, _ = await files.receive_file(
                database, work.scope, form.file_name.replace("\x00", ""), form.content(), now
            )
            await work.admit()
            task = await create_import(work.session, asked, services.part(Settings))
            await run_soon(work.session, services.part(App))
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, f"{PAGE}/{task.id}", "The file has arrived.")

    @post("/places", guards=[changes("connection")])
    async def new_place(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Connect to a folder of the deployment, or to a bucket."""
        given = form_of(request)
        secrets = {name: given[name] for name in ("aws_access_key_id", "aws_secret_access_key") if given.get(name)}
        body = {"name": given.get("name", ""), "provider_type": given.get("kind", "")}
        try:
            asked = convert({**body, "encrypted_secret_data": secrets or None}, CreateConnectionRequest)
            await connections.create(session, services.part(Gateways).safe, asked)
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, "Exports can go there now.")

    @post("/schedules", guards=[changes("task")])
    async def new_schedule(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Export something again and again."""
        given = form_of(request)
        try:
            asked = convert(_schedule_body(given), CreateScheduledTaskRequest)
            await lifecycle.create(session, asked, clock.now())
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, "It is exported from now on.")

    @post("/schedules/{schedule_id:str}", guards=[changes("task")])
    async def change_schedule(
        self, schedule_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Run a scheduled export now, switch it on or off, or delete it."""
        action = form_of(request).get("action", "")
        try:
            if action == "run":
                task, _ = await lifecycle.force_run(session, schedule_id, TriggerForceRunRequest(), clock.now())
                await run_soon(session, services.part(App))
                return done(request, f"{PAGE}/{task.id}", "The export of the last whole interval begins.")
            if action == "delete":
                await lifecycle.archive(session, schedule_id)
                return done(request, PAGE, "It is not exported any more.")
            await lifecycle.set_enabled(session, schedule_id, enabled=action == "enable", now=clock.now())
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "It runs by itself." if action == "enable" else "It does not run by itself.")

    @get("/{task_id:str}", guards=[shows("task")])
    async def single(self, task_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """How far a task is, and which rows failed."""
        task = await find(session, Task, task_id)
        problems, total = await list_problems(session, task.id, PROBLEMS_SHOWN)
        schedule = None
        if task.scheduled_task_id is not None:
            schedule = await find(session, ScheduledTask, task.scheduled_task_id)
        return render(
            request,
            "task.html",
            task=task,
            words=WORDS,
            problems=problems,
            total=total,
            percent=progress_of(task),
            schedule=schedule,
            is_open=task.task_status in {TaskStatus.PENDING, TaskStatus.PROCESSING},
        )

    @post("/{task_id:str}", guards=[changes("task")])
    async def change(
        self, task_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Cancel a task, try it again, or import what was only tried."""
        here, action = f"{PAGE}/{task_id}", form_of(request).get("action", "")
        try:
            if action == "cancel":
                await task_lifecycle.cancel(session, task_id, clock.now())
                return done(request, here, "It is cancelled; what was done stays.")
            if action == "import":
                return await _import_tried(request, session, services, task_id)
            await task_lifecycle.retry(session, task_id)
            await run_soon(session, services.part(App))
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "It goes on.")

    @get("/{task_id:str}/problems.csv", guards=[shows("task")])
    async def problems(
        self, task_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[Any]:
        """Every row that failed, and why."""
        return problems_answer(services.part(Database), request, await find(session, Task, task_id))

    @get("/{task_id:str}/file", guards=[shows("task")])
    async def file(self, task_id: str, request: HttpRequest, session: AsyncSession, services: Composition) -> Redirect:
        """The file of an export, by a link of half an hour."""
        now = services.part(Database).clock.now()
        link = await links.download_link(session, services.part(Settings), unit_of_work(request).scope, task_id, now)
        return Redirect(link)


async def _import_tried(
    request: HttpRequest, session: AsyncSession, services: Composition, task_id: str
) -> Response[str]:
    """Import the file of a dry run."""
    tried = await find(session, Task, task_id)
    body = {
        "task_type": TaskType.IMPORT.value,
        "entity_type": tried.entity_type.value,
        "file_type": tried.file_type.value,
        "file_provider": FARTHING,
        "upload_id": tried.stored_file_id or "none",
        "file_name": tried.file_name,
    }
    asked = convert(body, CreateTaskRequest)
    require_may_import(visitor_of(request).caller, asked.entity_type)
    task = await create_import(session, asked, services.part(Settings))
    await run_soon(session, services.part(App))
    return done(request, f"{PAGE}/{task.id}", "The import begins.")


async def _places(session: AsyncSession) -> list[Connection]:
    """Where exports can go, deleted ones included: exports went there."""
    query = (
        select(Connection)
        .where(Connection.provider_type.in_((ProviderType.LOCAL, ProviderType.S3)))
        .order_by(Connection.name, Connection.id)
        .limit(MOST_SCHEDULES)
    )
    return list((await session.scalars(query)).all())


def _schedule_body(given: dict[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = {
        name: given[name] for name in ("bucket", "region", "key_prefix", "endpoint_url") if given.get(name)
    }
    config["file_format"] = given.get("format") or "csv"
    if given.get("gzip") == "yes":
        config["compression"] = "gzip"
    if given.get("endpoint_url"):
        config["use_path_style"] = True
    return {
        "connection_id": given.get("place", ""),
        "entity_type": given.get("entity", ""),
        "interval": given.get("interval", ""),
        "job_config": config,
    }
