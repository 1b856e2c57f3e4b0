"""The people of the company: who there is, and what a person in charge does for one who cannot sign in."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.background_tasks import BackgroundTask
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, PermissionDenied
from farthing.identity import users
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.roles import ROLES
from farthing.identity.sign_in import second_factor
from farthing.identity.sign_in.password_change import HANDED_LINK_LIFE, ResetLink, make_link
from farthing.identity.sign_in.sessions import end_all_sessions
from farthing.identity.sign_in.tables import SecondFactor, SignInSession
from farthing.identity.tables import User, UserType
from farthing.notifications.email.password_mail import queue_password_mail
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import lock_row, not_found
from farthing.web.access.visitors import changes, form_of, shows, visitor_of
from farthing.web.people.passwords import send_link
from farthing.web.rendering.answers import HttpRequest, done, refused, render

PAGE = "/team"
MOST = 200


class Team(Controller):
    """People who sign in."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("user")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Everybody, with their roles."""
        return await _page(request, session)

    @post("/invite", guards=[changes("user", admin=True)], status_code=200)
    async def invite(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[Any]:
        """Make a person who signs in, and mail them a link to set a password; without mail it is shown, once."""
        server, database = services.part(Settings).mail_server(), services.part(Database)
        given = form_of(request)
        try:
            await services.part(HeaderAuthenticator).require_all_environments(session, visitor_of(request).caller)
            person = await users.invite(
                session,
                visitor_of(request).caller.tenant_id,
                email=given.get("email", ""),
                name=given.get("name", "")[:255],
                roles=[given.get("role", "")],
                password_hash=None,
            )
            await session.flush()
            if server is None:
                made = await _link(session, services, person, visitor_of(request).caller.user_id)
                return await _page(request, session, link=made)
            await queue_password_mail(session, person, database.clock.now())
        except FarthingError as error:
            return await refused(request, PAGE, error)
        answer = done(
            request, PAGE, f"An invitation is on its way to {person.email}. Its link works once, within a day."
        )
        background = database.in_background()
        answer.background = BackgroundTask(send_link, background, server, services.part(Settings), person.id)
        return answer

    @post("/{user_id:str}/role", guards=[changes("user", admin=True)])
    async def change_role(
        self, user_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Let a person do something else from now on."""
        role, caller = form_of(request).get("role", ""), visitor_of(request).caller
        try:
            await services.part(HeaderAuthenticator).require_all_environments(session, caller)
            person = await users.set_roles(session, caller, user_id, [role], services.part(Database).clock.now())
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, f"{person.name or person.email} is {ROLES[role].name} now.")

    @post("/{user_id:str}/password-link", guards=[changes("user", admin=True)], status_code=200)
    async def link(
        self, user_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Make a link with which the person sets a password, and show it, once."""
        try:
            await services.part(HeaderAuthenticator).require_all_environments(session, visitor_of(request).caller)
            person = await _colleague(request, session, user_id)
            made = await _link(session, services, person, visitor_of(request).caller.user_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return await _page(request, session, link=made)

    @post("/{user_id:str}/second-factor/remove", guards=[changes("user", admin=True)])
    async def remove(
        self, user_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Let a person who lost the app sign in with the password alone."""
        try:
            await services.part(HeaderAuthenticator).require_all_environments(session, visitor_of(request).caller)
            person = await _colleague(request, session, user_id)
            await second_factor.remove(session, person.id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, f"{person.name or person.email} signs in with the password alone now.")

    @post("/{user_id:str}/sign-out", guards=[changes("user", admin=True)])
    async def sign_out(
        self, user_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """End every session of a person."""
        try:
            person = await _colleague(request, session, user_id)
            await end_all_sessions(session, person.id, services.part(Database).clock.now())
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, f"{person.name or person.email} is signed out everywhere.")


async def _link(session: AsyncSession, services: Composition, person: User, made_by: str) -> ResetLink:
    """A link with which a person sets a password."""
    base_url, now = services.part(Settings).base_url, services.part(Database).clock.now()
    return await make_link(session, person, base_url, HANDED_LINK_LIFE, now, made_by=made_by)


async def _colleague(request: HttpRequest, session: AsyncSession, user_id: str) -> User:
    """Another person of the company, locked. Raises NotFound; PermissionDenied for oneself."""
    if user_id == visitor_of(request).caller.user_id:
        raise PermissionDenied("Your own password and second factor are on the page of your account")
    person = await lock_row(session, User, user_id)
    if person.type is not UserType.USER or person.status is not Status.PUBLISHED:
        raise not_found(User, user_id)
    return person


async def _page(request: HttpRequest, session: AsyncSession, link: ResetLink | None = None) -> Response[str]:
    seen = (
        select(SignInSession.user_id, func.max(SignInSession.last_seen_at).label("last_seen_at"))
        .group_by(SignInSession.user_id)
        .subquery()
    )
    people = await session.execute(
        select(User, SecondFactor.confirmed_at, seen.c.last_seen_at)
        .outerjoin(SecondFactor, SecondFactor.user_id == User.id)
        .outerjoin(seen, seen.c.user_id == User.id)
        .where(User.type == UserType.USER, User.status == Status.PUBLISHED)
        .order_by(User.created_at, User.id)
        .limit(MOST)
    )
    roles = [role for role in ROLES.values() if UserType.USER in role.assignable_to]
    return render(request, "team.html", people=people.all(), link=link, roles=roles, known_roles=ROLES)
