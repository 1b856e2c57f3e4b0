"""The test clock of an environment: let it stand at a time, move it forward, let it run again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from litestar import Controller, Response, get, post

from farthing.api.work import unit_of_work
from farthing.billing.clock.advance import FAILURES, Clockwork
from farthing.billing.tables import ClockAdvance
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.times import read_typed_time
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.identity.tables import EnvironmentType
from farthing.payments.shared_by_routes import provide_gateways
from farthing.storage.postgres import Database
from farthing.web.access.visitors import changes, form_of, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, go, refused, render

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
EARLIEST_YEAR = 2000
PATIENCE_SECONDS = 3
"""How long a form waits for the work on the way; after that the page shows how far it has come."""

_DID = (
    ("rolled", "subscriptions brought up to date"),
    ("drafted", "invoices drafted"),
    ("skipped", "of nothing, skipped"),
    ("finalized", "invoices finalized"),
    ("cancelled", "subscriptions cancelled for not paying"),
    ("renewals_told", "renewals announced"),
    ("grants_applied", "credit grants applied"),
    ("grants_exhausted", "quotas used up"),
    ("overdue_told", "invoices became overdue"),
    ("lots_expired", "lots of credits expired"),
)


@dataclass(frozen=True, slots=True)
class ClockMove:
    """A move of the clock as the page shows it. `share` is how much of the way is made, in percent."""

    target: datetime
    reached: datetime
    share: int
    under_way: bool
    error: str
    did: list[tuple[int, str]]
    failures: dict[str, str]
    failed: int

    @classmethod
    def of(cls, row: ClockAdvance) -> ClockMove:
        reached = row.reached or row.target
        begun = row.started_from or reached
        way = row.target - begun
        return cls(
            target=row.target,
            reached=reached,
            share=int(100 * ((reached - begun) / way)) if way else 100,
            under_way=row.finished_at is None and not row.error,
            error=row.error,
            did=[(row.counts[name], what) for name, what in _DID if row.counts.get(name)],
            failures=row.counts.get(FAILURES, {}),
            failed=row.counts.get("failed", 0),
        )


class TestClock(Controller):
    """The environment's clock."""

    path = "/clock"
    include_in_schema = False

    @get("/", guards=[shows("environment")])
    async def page(self, request: HttpRequest, clock: Clock, services: Composition) -> Response[str]:
        """What time it is here, how far it is on its way, and how to change it."""
        now = clock.now()
        environment = visitor_of(request).environment
        _, move = await _clockwork(request, services).latest()
        return render(
            request,
            "clock.html",
            now=now,
            # a clock does not go back: the minute that has begun is over
            proposed=now if now == now.replace(second=0, microsecond=0) else now + timedelta(minutes=1),
            real=services.part(Database).clock.now(),
            steps=list(STEPS),
            move=None if move is None else ClockMove.of(move),
            can=environment.type is EnvironmentType.DEVELOPMENT,
        )

    @post("/", guards=[changes("environment", admin=True)])
    async def change(self, request: HttpRequest, clock: Clock, services: Composition) -> Response[str]:
        """Stand at a time, step forward, go on with a move that was interrupted, or run."""
        clockwork = _clockwork(request, services)
        try:
            at = await _wanted(form_of(request), clock.now(), clockwork)
            await clockwork.move_within(PATIENCE_SECONDS, at)
        except FarthingError as error:
            return await refused(request, "/clock", error)
        if at is None:
            return done(request, "/clock", "The clock runs again.")
        _, move = await clockwork.latest()
        if move is not None and move.finished_at is None:
            return go("/clock")
        return done(
            request, "/clock", f"The clock stands at {at:%-d %b %Y, %H:%M} UTC. All that was due by then is done."
        )


def _clockwork(request: HttpRequest, services: Composition) -> Clockwork:
    return Clockwork(services.part(Database), unit_of_work(request).scope, provide_gateways(services))


async def _wanted(given: dict[str, str], now: datetime, clockwork: Clockwork) -> datetime | None:
    """The time asked for; None to run. Raises ValidationFailed."""
    step = given.get("step", "")
    if step == "run":
        return None
    if step in STEPS:
        return now.replace(microsecond=0) + STEPS[step]
    if step == "on":
        _, move = await clockwork.latest()
        if move is not None:
            return move.target
    try:
        at = read_typed_time(given.get("at", ""))
    except ValueError as error:
        raise ValidationFailed.of("at", str(error)) from error
    if at.year < EARLIEST_YEAR:
        raise ValidationFailed.of("at", f"must not be before the year {EARLIEST_YEAR}")
    return at
