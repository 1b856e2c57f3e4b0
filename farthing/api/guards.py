"""What a route demands of its caller. Every route under /v1 has exactly one of these guards, or is public by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from farthing.api.idempotency import claim
from farthing.api.services import services_of
from farthing.api.transport.ratelimit import Limiter
from farthing.api.work import takes_long, unit_of_work
from farthing.core.caller import READ, Caller
from farthing.core.errors import PermissionDenied

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]


class Authenticator(Protocol):
    """Turns the credentials of a request into its caller. Raises Unauthorized or PermissionDenied."""

    async def __call__(self, connection: Connection, *, needs_environment: bool) -> Caller: ...


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Who may come in, and how often; signing in has a limit of its own."""

    authenticator: Authenticator
    limiter: Limiter
    sign_in_limiter: Limiter


async def _authenticate(connection: Connection, *, needs_environment: bool) -> Caller:
    access = services_of(connection).part(AccessControl)
    caller = await access.authenticator(connection, needs_environment=needs_environment)
    access.limiter.take(f"{caller.tenant_id}/{caller.credential_id}")
    return caller


def needs(entity: str, action: str, *, environment: bool = True, admin_person: bool = False) -> Guard:
    """Demand `action` ("read", "write", or "delete" of events) on `entity`.

    `environment=False` for routes that belong to a tenant; `admin_person` reserves the route for a person with
    `super_admin`. Order of refusals: tenant suspended (writes only), person, role.
    """

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        caller = await _authenticate(connection, needs_environment=environment)
        if action != READ and caller.tenant_suspended:
            raise PermissionDenied("tenant account is suspended")
        if admin_person:
            require_admin_person(caller)
        if not caller.may(action, entity):
            raise PermissionDenied("insufficient permissions")
        await _begin(connection, caller, read_only=action == READ)

    guard.needs = (entity, action)  # type: ignore[attr-defined]  # read by the route tests
    return guard


def any_caller(*, environment: bool = False, read_only: bool = True, senders: bool = False) -> Guard:
    """Demand only that the caller is authenticated and, without `senders`, that he may read anything at all."""

    async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
        caller = await _authenticate(connection, needs_environment=environment)
        if caller.only_sends and not senders:
            raise PermissionDenied("insufficient permissions")
        if not read_only and caller.tenant_suspended:
            raise PermissionDenied("tenant account is suspended")
        await _begin(connection, caller, read_only=read_only)

    guard.needs = None  # type: ignore[attr-defined]  # read by the route tests
    return guard


async def _begin(connection: Connection, caller: Caller, *, read_only: bool) -> None:
    work = unit_of_work(connection)
    work.begin(caller, read_only=read_only, is_long=takes_long(connection))
    if not read_only:
        await claim(connection, work)


def require_admin_person(caller: Caller) -> None:
    """Refuse anyone but a person with `super_admin`; service accounts are refused even with that role."""
    if not (caller.is_person and caller.is_super_admin):
        raise PermissionDenied("This action requires a user account with Super Admin access")
