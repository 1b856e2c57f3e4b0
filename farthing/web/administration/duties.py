"""The duties of the deployment: how each stands, and running one now.

They go through everybody's books, so they belong to whoever runs the deployment: the people of its first tenant, which
the first start made. Who may read there sees them; a person in charge there may run one.
"""

from __future__ import annotations

from datetime import timedelta

from litestar import Controller, Response, get, post
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.errors import NotFound, PermissionDenied
from farthing.jobs.duties.duty import KnownDuties
from farthing.jobs.duties.standing import read_queue, read_standings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.visitors import changes, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.words.wording import counted, words

ALIVE_SECONDS = 30.0


class Duties(Controller):
    """Periodic duties."""

    path = "/duties"
    include_in_schema = False

    @get("/", guards=[shows("cron")])
    async def all(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Every duty: last run, last success, next run, failures."""
        _require_operator(request)
        database = services.part(Database)
        now = database.clock.now()
        async with database.transaction(SYSTEM, read_only=True) as session:
            standings = await read_standings(session, services.part(KnownDuties).duties, now)
            queue = await read_queue(session, ALIVE_SECONDS)
        return render(
            request,
            "duties.html",
            now=now,
            duties=[(standing, in_words(standing.period)) for standing in standings],
            overdue=sum(standing.is_overdue(now) for standing in standings),
            queue=queue,
        )

    @post("/{name:str}/run", guards=[changes("cron", admin=True)])
    async def run(self, name: str, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Queue a run; a worker begins it within seconds, unless one runs already."""
        _require_operator(request)
        if all(duty.name != name for duty in services.part(KnownDuties).duties):
            raise NotFound("There is no such duty", {"name": name})
        connection = await (await session.connection()).get_raw_connection()
        task = services.part(App).configure_task(name, connection=connection.driver_connection)
        try:
            async with session.begin_nested():
                await task.defer_async(timestamp=int(services.part(Database).clock.now().timestamp()))
        except AlreadyEnqueued:
            return done(request, "/duties", f"{words(name)} waits to be run already.")
        return done(request, "/duties", f"{words(name)} is queued. A worker runs it next.")


def _require_operator(request: HttpRequest) -> None:
    if not visitor_of(request).runs_deployment:
        raise PermissionDenied("Duties belong to whoever runs this deployment")


def in_words(period: timedelta) -> str:
    """How often something runs, as people say it."""
    minutes = round(period.total_seconds() / 60)
    if minutes >= 24 * 60:
        return "Once a day"
    return "Every minute" if minutes == 1 else f"Every {counted(minutes, 'minute')}"
