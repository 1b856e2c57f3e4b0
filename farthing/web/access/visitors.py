"""From a browser's cookie to the person behind it, and what a page demands of that person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from sqlalchemy import Select, bindparam, select

from farthing.api.guards import AccessControl
from farthing.api.services import services_of
from farthing.api.work import takes_long, unit_of_work
from farthing.core.caller import DELETE, READ, WRITE, Caller
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, PermissionDenied
from farthing.core.origin import ChangeSource
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.credentials.actors import actor_of_user
from farthing.identity.environments import visible
from farthing.identity.roles import permissions_of
from farthing.identity.sign_in.sessions import valid_session
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import Environment, EnvironmentType, InternalStatus, Tenant, User, UserType
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.sessions import Session, Sessions

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

VISITOR = "farthing.visitor"
MOST_FIELDS = 400
MOST_FORM_BYTES = 64 * 1024


class SignInNeeded(PermissionDenied):
    """Nobody is signed in; `next_path` is where to go afterwards."""

    status = 401

    def __init__(self, next_path: str) -> None:
        super().__init__("Please sign in")
        self.next_path = next_path


class StaleForm(FarthingError):
    """A form that was not made for this session."""

    code = "permission_denied"
    status = 403


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person in a browser, and what frames every page they see."""

    session: Session
    session_id: str
    """The row of the session."""
    form_token: str
    name: str
    email: str
    tenant_name: str
    environments: Sequence[Environment]
    environment: Environment
    caller: Caller
    runs_deployment: bool
    """Whether the visitor belongs to the deployment's first tenant, which is who runs it."""

    def may(self, action: str, entity: str) -> bool:
        """Whether the page may offer this."""
        if action != READ and self.caller.tenant_suspended:
            return False
        return self.caller.may(action, entity)

    @property
    def leads(self) -> bool:
        """Whether what is reserved for a person in charge is open."""
        return self.caller.is_super_admin and not self.caller.tenant_suspended


def visitor_of(connection: Connection) -> Visitor:
    """The person a guard admitted."""
    visitor: Visitor = connection.scope[VISITOR]  # type: ignore[literal-required]  # put there by the guard
    return visitor


def session_of(connection: Connection) -> Session:
    """The browser's session, or a new one of nobody."""
    sessions: Sessions = services_of(connection).part(Sessions)
    now = services_of(connection).part(Database).clock.now()
    return sessions.read(connection.cookies.get(sessions.cookie_name), now) or sessions.anonymous(now)


def form_of(connection: Connection) -> dict[str, str]:
    """The fields of a posted form, trimmed, the last of each name; empty without one. Raises StaleForm."""
    if connection.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    body = unit_of_work(connection).body
    if len(body) > MOST_FORM_BYTES:
        raise StaleForm("The form is too large")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise StaleForm("The form could not be read") from error
    if any("\x00" in text for pair in pairs for text in pair):
        raise StaleForm("The form could not be read")
    # spaces may be part of a password
    return {name: text if "password" in name else text.strip() for name, text in pairs}


def require_own_form(connection: Connection, session: Session, token: str | None = None) -> None:
    """Refuse a form that another site made, or that was made for another session. Raises StaleForm.

    `token` is the form's, where the form is not the whole body.
    """
    sessions: Sessions = services_of(connection).part(Sessions)
    # browsers say who made a request; what says nothing is no browser, and needs the token like everyone
    foreign = connection.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
    now = services_of(connection).part(Database).clock.now()
    given = form_of(connection).get("form_token", "") if token is None else token
    if foreign or not sessions.is_form_token(session, given, now):
        raise StaleForm("This form is out of date. Please go back, reload the page and try again.")


@cache
def _person_with_tenant() -> Select[User, Tenant, str]:
    """The user `user_id`, the tenant it belongs to, and the id of the deployment's first tenant."""
    first = select(Tenant.id).order_by(Tenant.created_at, Tenant.id).limit(1)
    return (
        select(User, Tenant, first.correlate(None).scalar_subquery())
        .join(Tenant, Tenant.id == User.tenant_id)
        .where(User.id == bindparam("user_id"))
    )


async def _recognised(connection: Connection) -> Visitor:
    services = services_of(connection)
    database, authenticator = services.part(Database), services.part(HeaderAuthenticator)
    sessions: Sessions = services.part(Sessions)
    session = session_of(connection)
    path = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
    if not session.signed_in:
        raise SignInNeeded(path)
    async with database.transaction(SYSTEM, read_only=True) as rows:
        found = (await rows.execute(_person_with_tenant(), {"user_id": session.user_id})).one_or_none()
        if found is None:
            raise SignInNeeded(path)
        user, tenant, first_tenant_id = found
        if user.status != Status.PUBLISHED or user.type != UserType.USER:
            raise SignInNeeded(path)
        now = database.clock.now()
        signed_in = await valid_session(rows, session.id, SessionKind.DASHBOARD, user, now)
        if signed_in is None:
            raise SignInNeeded(path)
        allowed = authenticator.environments_of(Caller(user.tenant_id, "", user.id, user.id, actor_of_user(user)))
        environments = (
            await rows.scalars(
                visible(user.tenant_id, allowed)
                .where(Environment.status == Status.PUBLISHED)
                .order_by(Environment.created_at, Environment.id)
            )
        ).all()
    environment = _chosen(environments, session.environment_id)
    caller = Caller(
        tenant_id=tenant.id,
        environment_id=environment.id,
        user_id=user.id,
        credential_id=user.id,
        actor=actor_of_user(user),
        roles=tuple(user.roles),
        permissions=permissions_of(user.roles),
        is_person=True,
        tenant_suspended=tenant.internal_status == InternalStatus.SUSPENDED,
        frozen_time=environment.frozen_time,
    )
    services.part(AccessControl).limiter.take(f"{caller.tenant_id}/{caller.credential_id}")
    authenticator.seen_sessions.add(signed_in.id)
    return Visitor(
        session=session,
        session_id=signed_in.id,
        form_token=sessions.form_token(session),
        name=user.name or (user.email or ""),
        email=user.email or "",
        tenant_name=tenant.name,
        environments=environments,
        environment=environment,
        caller=caller,
        runs_deployment=tenant.id == first_tenant_id,
    )


def _chosen(environments: Sequence[Environment], wanted: str) -> Environment:
    """The environment last looked at, else production, else the oldest. Raises PermissionDenied without any."""
    if not environments:
        raise PermissionDenied("There is no environment that you may enter")
    by_id = {environment.id: environment for environment in environments}
    production = [environment for environment in environments if environment.type is EnvironmentType.PRODUCTION]
    return by_id.get(wanted) or (production or list(environments))[0]


def shows(entity: str) -> Guard:
    """A page that needs to read `entity`: signed in, allowed, and then one read-only snapshot."""
    return _demands(entity, READ, admin=False)


def prepares(entity: str) -> Guard:
    """A page with the form of a change of `entity`: signed in, allowed to change it; looking at it changes nothing."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        visitor = await _recognised(connection)
        connection.scope[VISITOR] = visitor  # type: ignore[literal-required]  # read by `visitor_of`
        if not visitor.may(WRITE, entity):
            raise PermissionDenied("Your role does not allow this")
        unit_of_work(connection).begin(visitor.caller, read_only=True, source=ChangeSource.DASHBOARD)

    guard.needs = (entity, WRITE)  # type: ignore[attr-defined]  # read by the tests that walk every page
    return guard


def changes(entity: str, *, admin: bool = False) -> Guard:
    """A form that writes `entity`: signed in, allowed, sent from our own page. `admin`: only a person in charge."""
    return _demands(entity, WRITE, admin=admin)


def uploads(entity: str) -> Guard:
    """A form that brings a file and writes `entity`: signed in and allowed; `UploadForm` sees that it is our own."""
    return _demands(entity, WRITE, admin=False, holds_token=False)


def deletes(entity: str) -> Guard:
    """A form that takes away or corrects `entity`, where that is a permission of its own."""
    return _demands(entity, DELETE, admin=False)


def own_account(action: str) -> Guard:
    """A page or form about the visitor's own account: signed in, and a form sent from our own page; no role needed."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        visitor = await _recognised(connection)
        connection.scope[VISITOR] = visitor  # type: ignore[literal-required]  # read by `visitor_of`
        if action == WRITE:
            require_own_form(connection, visitor.session)
        unit_of_work(connection).begin(visitor.caller, read_only=action == READ, source=ChangeSource.DASHBOARD)

    guard.needs = None  # type: ignore[attr-defined]  # read by the tests that walk every page
    return guard


def _demands(entity: str, action: str, *, admin: bool, holds_token: bool = True) -> Guard:
    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        visitor = await _recognised(connection)
        connection.scope[VISITOR] = visitor  # type: ignore[literal-required]  # read by `visitor_of`
        if action != READ:
            if holds_token:
                require_own_form(connection, visitor.session)
            if visitor.caller.tenant_suspended:
                raise PermissionDenied("This account is suspended: it can be read, not changed")
        if not visitor.caller.may(action, entity) or (admin and not visitor.leads):
            raise PermissionDenied("Your role does not allow this")
        unit_of_work(connection).begin(
            visitor.caller,
            read_only=action == READ,
            source=ChangeSource.DASHBOARD,
            is_long=takes_long(connection),
        )

    guard.needs = (entity, action)  # type: ignore[attr-defined]  # read by the tests that walk every page
    return guard
