"""The people of the company: who there is, and what a person in charge does for one who cannot sign in."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, PermissionDenied
from farthing.identity.sign_in import second_factor
from farthing.identity.sign_in.password_change import HANDED_LINK_LIFE, ResetLink, make_link
from farthing.identity.sign_in.sessions import end_all_sessions
from farthing.identity.sign_in.tables import SecondFactor, SignInSession
from farthing.identity.tables import User, UserType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import lock_row, not_found
from farthing.web.access.visitors import changes, shows, visitor_of
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

    @post("/{user_id:str}/password-link", guards=[changes("user", admin=True)], status_code=200)
    async def link(
        self, user_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Make a link with which the person sets a password, and show it, once."""
        try:
            person = await _colleague(request, session, user_id)
            made = await make_link(
                session,
                person,
                services.part(Settings).base_url,
                HANDED_LINK_LIFE,
                services.part(Database).clock.now(),
                made_by=visitor_of(request).caller.user_id,
            )
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return await _page(request, session, link=made)

    @post("/{user_id:str}/second-factor/remove", guards=[changes("user", admin=True)])
    async def remove(self, user_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Let a person who lost the app sign in with the password alone."""
        try:
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
    return render(request, "team.html", people=people.all(), link=link)
