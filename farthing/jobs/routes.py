"""Endpoints of what is done in the background."""

from __future__ import annotations

from litestar import Controller, post
from procrastinate import App
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import Caller
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.wire import Request, Response
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_ulid
from farthing.identity import environments
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.schemas import EnvironmentName
from farthing.identity.tables import EnvironmentType
from farthing.jobs import cloning


class CloneEnvironmentRequest(Request):
    """An environment that exists, or the name and type of one to make."""

    target_environment_id: str | None = None
    name: EnvironmentName | None = None
    type: EnvironmentType | None = None


class CloneEnvironmentResponse(Response):
    workflow_id: str
    run_id: str
    message: str


class EnvironmentCloning(Controller):
    path = "/environments"
    tags = ["Environments"]

    @post(
        "/{id:str}/clone",
        operation_id="cloneEnvironment",
        guards=[needs("environment", "write", environment=False)],
        status_code=202,
    )
    async def clone(
        self,
        id: str,
        data: CloneEnvironmentRequest,
        session: AsyncSession,
        caller: Caller,
        clock: Clock,
        services: Composition,
    ) -> CloneEnvironmentResponse:
        """Copy an environment's features and plans into another one."""
        allowed = services.part(HeaderAuthenticator).changeable_environments_of(caller)
        source = await environments.one(session, id, allowed)
        target_id = await _target(session, data, caller, allowed)
        if target_id == source.id:
            raise ValidationFailed.of("target_environment_id", "must be another environment than the source")
        run_id = await cloning.defer(session, services.part(App), caller, source.id, target_id, clock.now())
        return CloneEnvironmentResponse(
            workflow_id=f"{Kind.WORKFLOW}_EnvironmentClone_{new_ulid()}",
            run_id=run_id,
            message="environment clone started",
        )


async def _target(
    session: AsyncSession, data: CloneEnvironmentRequest, caller: Caller, allowed: environments.Allowed
) -> str:
    if data.target_environment_id:
        return (await environments.one(session, data.target_environment_id, allowed)).id
    if data.name is None:
        raise ValidationFailed.of("name", "is required without target_environment_id")
    if data.type is None:
        raise ValidationFailed.of("type", "is required without target_environment_id")
    return (await environments.create(session, caller.tenant_id, data.name, data.type)).id
