"""The test clock of an environment: let it stand at a time, move it forward, let it run again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from litestar import Controller, Response, get, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, InvalidOperation, ValidationFailed
from farthing.identity import keys
from farthing.identity.tables import Environment, EnvironmentType
from farthing.storage.rows import locked
from farthing.web.answers import HttpRequest, done, refused, render
from farthing.web.visitors import changes, form_of, shows, visitor_of
from farthing.web.wording import words

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
LATEST_YEAR = 2200


async def stand_at(session: AsyncSession, environment_id: str, at: datetime | None) -> None:
    """Let the clock of a development environment stand at `at`, or run (None). Raises InvalidOperation.

    A standing clock only moves forward, as time does: what was billed stays billed.
    """
    environment = await locked(session, Environment, environment_id)
    if environment.type is not EnvironmentType.DEVELOPMENT:
        raise InvalidOperation("Only a development environment has a test clock")
    if at is not None and environment.frozen_time is not None and at < environment.frozen_time:
        raise InvalidOperation("A test clock only moves forward; let it run again to leave its time")
    environment.frozen_time = at
    await session.flush()
    await keys.changed(session, environment.id)


class TestClock(Controller):
    """The environment's clock."""

    path = "/clock"
    include_in_schema = False

    @get("/", guards=[shows("environment")])
    async def page(self, request: HttpRequest, clock: Clock, state: State) -> Response[str]:
        """What time it is here, and how to change it."""
        now = clock.now()
        environment = visitor_of(request).environment
        return render(
            request,
            "clock.html",
            now=now,
            real=state.database.clock.now(),
            steps=list(STEPS),
            can=environment.type is EnvironmentType.DEVELOPMENT,
        )

    @post("/", guards=[changes("environment", admin=True)])
    async def change(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Stand at a time, step forward, or run."""
        given = form_of(request)
        try:
            at = _wanted(given, clock.now())
            await stand_at(session, visitor_of(request).environment.id, at)
        except FarthingError as error:
            return await refused(request, "/clock", error)
        if at is None:
            return done(request, "/clock", "The clock runs again.")
        return done(
            request, "/clock", f"The clock stands at {at:%-d %b %Y, %H:%M} UTC. What is due by then is done soon."
        )


def _wanted(given: dict[str, str], now: datetime) -> datetime | None:
    """The time asked for; None to run. Raises ValidationFailed."""
    step = given.get("step", "")
    if step == "run":
        return None
    if step in STEPS:
        return now.replace(microsecond=0) + STEPS[step]
    try:
        at = datetime.fromisoformat(given.get("at", "")).replace(tzinfo=UTC)
    except ValueError as error:
        raise ValidationFailed.of(words("at"), "must be a date and a time") from error
    if not 2000 <= at.year <= LATEST_YEAR:
        raise ValidationFailed.of("at", f"must lie between the years 2000 and {LATEST_YEAR}")
    return at
