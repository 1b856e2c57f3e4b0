"""Running the tasks that are queued, a few at a time, whose ever they are; those that a dead process left go on.

Whoever calls this makes sure that nobody else in the deployment does at the same time.
Rule: docs/rules/imports-and-exports.md#how-far-a-task-is
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, union_all

from farthing.core.clock import Clock, FixedClock
from farthing.core.origin import ChangeSource, acting_as, duty_actor
from farthing.settings import Settings
from farthing.storage.connections.reasons import public_reason
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.transfer.enums import TaskStatus, TaskType
from farthing.transfer.exports.run import ExportContext, run_export
from farthing.transfer.imports.run import ImportContext, fetch_file, run_import
from farthing.transfer.tables import Task
from farthing.transfer.tasks.lifecycle import Superseded, TaskRun, begin_attempt, end_attempt

log = structlog.get_logger(__name__)

ACTOR = "export"
MOST_AT_ONCE = 2
MOST_FETCHED_AT_ONCE = 16
"""Files that are fetched meanwhile, one of each tenant: a server that is slow keeps nobody's task from its place."""
LIMIT = timedelta(minutes=30)
"""How long an attempt at a task may take; a retry goes on after what is done."""
ENOUGH = timedelta(minutes=25)
"""When no further task is begun and no file is fetched any more: the next run does."""
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 10.0
"""How often files to fetch are looked for while every place is taken."""
_BEYOND_LIMIT = f"Stopped after {LIMIT.total_seconds() / 60:g} minutes; try again, and it goes on where it was"

Environments = Callable[[], Awaitable[Sequence[tuple[Scope, datetime | None]]]]
"""Every live environment, with its test clock if it stands still."""


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A task that waits, where, and what time it is there; `is_fetched`: its file must be fetched first."""

    id: str
    scope: Scope
    clock: Clock
    created_at: datetime
    is_fetched: bool


class TaskRunner:
    """Runs queued tasks until there are none, or it was enough."""

    def __init__(self, database: Database, settings: Settings, environments: Environments) -> None:
        self._database = database
        self._settings = settings
        self._environments = environments
        self._running: dict[asyncio.Task[bool], QueuedTask] = {}
        self._fetching: dict[str, QueuedTask] = {}
        """Those of them whose files are on their way: they take no place from work."""
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._look_again_at = 0.0
        self.succeeded = 0
        self.failed = 0

    async def run(self) -> None:
        """As above."""
        until = time.monotonic() + ENOUGH.total_seconds()
        try:
            while True:
                if time.monotonic() < until:
                    await self._begin_waiting()
                else:
                    self._cut_fetching()
                if not self._running:
                    return
                ended, _ = await asyncio.wait(self._running, timeout=PAUSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for attempt in ended:
                    del self._running[attempt]
                    if not attempt.cancelled():
                        self.succeeded += attempt.result()
                        self.failed += not attempt.result()
        finally:
            for attempt in self._running:
                attempt.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def _begin_waiting(self) -> None:
        working = len(self._running) - len(self._fetching)
        if working >= MOST_AT_ONCE and time.monotonic() < self._look_again_at:
            return
        self._look_again_at = time.monotonic() + LOOK_SECONDS
        waiting = await self._waiting()
        self._begin([task for task in waiting if not task.is_fetched], MOST_AT_ONCE - working)
        fetching = {task.scope.tenant_id for task in self._fetching.values()}
        oldest: dict[str, QueuedTask] = {}
        for task in sorted(waiting, key=lambda task: (task.created_at, task.id)):
            if task.is_fetched and task.scope.tenant_id not in fetching:
                oldest.setdefault(task.scope.tenant_id, task)
        self._begin(list(oldest.values()), MOST_FETCHED_AT_ONCE - len(self._fetching))

    def _cut_fetching(self) -> None:
        for attempt, task in self._running.items():
            if task.id in self._fetching:
                attempt.cancel()

    async def _waiting(self) -> list[QueuedTask]:
        """The oldest queued tasks of each environment that nobody runs, those whose file is to be fetched apart."""
        mine = {task.id for task in self._running.values()}
        to_fetch = (Task.task_type == TaskType.IMPORT) & Task.stored_file_id.is_(None)
        columns = (Task.id, Task.created_by, Task.created_at)
        waiting: list[QueuedTask] = []
        for scope, frozen in await self._environments():
            queued = (
                select(*columns, to_fetch.label("is_fetched"))
                .where(Task.environment_id == scope.environment_id, Task.is_queued, Task.id.not_in(mine))
                .order_by(Task.created_at, Task.id)
                .limit(MOST_AT_ONCE)
            )
            kinds = union_all(queued.where(~to_fetch).subquery().select(), queued.where(to_fetch).subquery().select())
            async with self._database.transaction(scope, read_only=True) as session:
                rows = await session.execute(kinds)
            clock = self._database.clock if frozen is None else FixedClock(frozen)
            waiting += [
                QueuedTask(
                    row.id,
                    Scope(scope.tenant_id, scope.environment_id, row.created_by),
                    clock,
                    row.created_at,
                    row.is_fetched,
                )
                for row in rows
            ]
        return waiting

    def _begin(self, waiting: Sequence[QueuedTask], places: int) -> None:
        """Begin tasks while there are places; first those of tenants none of whose tasks runs."""
        left = list(waiting)
        for _ in range(min(places, len(left))):
            busy = {task.scope.tenant_id for task in self._running.values()}
            left.sort(key=lambda task: (task.scope.tenant_id in busy, task.created_at, task.id))
            task = left.pop(0)
            if task.is_fetched:
                self._fetching[task.id] = task
            self._running[asyncio.create_task(self._attempt(task), name=f"task {task.id}")] = task

    async def _attempt(self, queued: QueuedTask) -> bool:
        """Run one attempt; whether it came to its end without an error of the service."""
        try:
            async with self._database.transaction(queued.scope, clock=queued.clock) as session:
                run = await begin_attempt(session, queued.id, queued.clock.now())
            if run is None:
                return True
            return await self._carry_out(queued, run)
        finally:
            self._fetching.pop(queued.id, None)

    async def _carry_out(self, queued: QueuedTask, run: TaskRun) -> bool:
        try:
            if queued.is_fetched:
                if not await fetch_file(self._import_context(queued), run):
                    return True
                self._fetching.pop(queued.id)
            async with self._places, asyncio.timeout(LIMIT.total_seconds()):
                await self._perform(queued, run)
        except Superseded:
            log.info("task.superseded", task_id=queued.id)
        except Exception as error:  # one task's trouble must not stop the others
            log.exception("task.failed", task_id=queued.id)
            reason = _BEYOND_LIMIT if isinstance(error, TimeoutError) else f"Failed: {public_reason(error)}"
            await self._fail(queued, run, reason)
            return False
        return True

    def _import_context(self, queued: QueuedTask) -> ImportContext:
        return ImportContext(
            self._database, self._settings, queued.scope, queued.clock, report=lambda progress, size: None
        )

    async def _perform(self, queued: QueuedTask, run: TaskRun) -> None:
        if run.task.task_type is TaskType.IMPORT:
            await run_import(self._import_context(queued), run)
            return
        with acting_as(duty_actor(ACTOR, owner_id=run.task.created_by), ChangeSource.WORKER):
            await run_export(ExportContext(self._database, self._settings, queued.scope, queued.clock), run)

    async def _fail(self, queued: QueuedTask, run: TaskRun, reason: str) -> None:
        try:
            async with self._database.transaction(queued.scope, clock=queued.clock) as session:
                await end_attempt(session, run, TaskStatus.FAILED, reason, queued.clock.now())
        except Superseded:
            log.info("task.superseded", task_id=queued.id)
