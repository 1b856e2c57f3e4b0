"""Endpoints of test clocks."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get, post

from farthing.api.guards import needs
from farthing.api.work import unit_of_work
from farthing.billing.clock.advance import FAILURES, WAITING, Clockwork
from farthing.core.caller import Caller
from farthing.core.clock import instant
from farthing.core.composition import Composition
from farthing.core.encoding.wire import Moment, Timestamp
from farthing.core.encoding.wire import Request as Body
from farthing.core.encoding.wire import Response as Answer
from farthing.core.ids import Kind, stable_id
from farthing.identity import environments
from farthing.identity.authentication import HeaderAuthenticator
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

PATIENCE_SECONDS = 25
"""How long an answer waits for the work that is due; a longer move goes on, and its progress can be asked for."""


class SetClockRequest(Body):
    """Where the clock shall stand; null lets it run."""

    frozen_time: Moment | None


class ClockProgress(Answer):
    """A move of the clock. `counts` is what was done on the way, `failures` says what was not, by id, and `error` why
    the clock stopped before its target, if it did: set again, it goes on from there. `waiting_for_rates` says which
    exchange rate is missing for an invoice that stayed a draft, by its id."""

    id: str
    target: Timestamp
    counts: dict[str, int]
    finished: bool
    reached: Timestamp | None = None
    failures: dict[str, str] | None = None
    waiting_for_rates: dict[str, str] | None = None
    error: str | None = None


class ClockResponse(Answer):
    """The clock of an environment: where it stands, or nothing when it runs; and its last move."""

    environment_id: str
    frozen_time: Timestamp | None = None
    progress: ClockProgress | None = None


class Clocks(Controller):
    """Test clocks of development environments."""

    path = "/environments"
    tags = ("Environments",)
    dependencies = GATEWAYS

    @post(
        "/{environment_id:str}/clock",
        operation_id="setEnvironmentClock",
        guards=[needs("environment", "write", environment=False)],
        status_code=200,
    )
    async def set_clock(
        self,
        environment_id: str,
        data: SetClockRequest,
        request: Request[Any, Any, Any],
        caller: Caller,
        services: Composition,
        gateways: Gateways,
    ) -> Response[ClockResponse]:
        """Freeze the clock, move it forward, or let it run; answers when all that is due up to then is done.

        A move that takes longer than half a minute is answered with 202, and goes on.
        """
        clockwork = await _clockwork(environment_id, request, caller, services, gateways)
        token = unit_of_work(request).token
        move_id = None if token is None else stable_id(Kind.RUN, token)  # a repeat goes on with the same move
        await clockwork.move_within(PATIENCE_SECONDS, data.frozen_time, move_id)
        answer = await _answer(clockwork)
        pending = answer.progress is not None and not (answer.progress.finished or answer.progress.error)
        return Response(answer, status_code=202 if pending else 200)

    @get(
        "/{environment_id:str}/clock",
        operation_id="getEnvironmentClock",
        guards=[needs("environment", "read", environment=False)],
    )
    async def read_clock(
        self,
        environment_id: str,
        request: Request[Any, Any, Any],
        caller: Caller,
        services: Composition,
        gateways: Gateways,
    ) -> ClockResponse:
        """Where the clock stands, and how far its last move has come."""
        return await _answer(await _clockwork(environment_id, request, caller, services, gateways))


async def _clockwork(
    environment_id: str, request: Request[Any, Any, Any], caller: Caller, services: Composition, gateways: Gateways
) -> Clockwork:
    """The clock of an environment that the caller may enter. Raises NotFound, PermissionDenied."""
    work = unit_of_work(request)
    await work.admit()
    await environments.one(
        work.session, environment_id, services.part(HeaderAuthenticator).changeable_environments_of(caller)
    )
    database = services.part(Database).in_background()
    return Clockwork(database, Scope(caller.tenant_id, environment_id, caller.user_id), gateways)


async def _answer(clockwork: Clockwork) -> ClockResponse:
    frozen, move = await clockwork.latest()
    return ClockResponse(
        environment_id=clockwork.scope.environment_id,
        frozen_time=None if frozen is None else instant(frozen),
        progress=None
        if move is None
        else ClockProgress(
            id=move.id,
            target=instant(move.target),
            counts={name: count for name, count in move.counts.items() if name not in {FAILURES, WAITING}},
            failures=move.counts.get(FAILURES),
            waiting_for_rates=move.counts.get(WAITING),
            finished=move.finished_at is not None,
            reached=None if move.reached is None else instant(move.reached),
            error=move.error or None,
        ),
    )
