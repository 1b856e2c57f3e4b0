"""One's own account: the password, the sessions that are open, and the second factor."""

from __future__ import annotations

from typing import Any

import segno
from litestar import Controller, Response, get, post
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import unit_of_work
from farthing.core.caller import READ, WRITE
from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, PermissionDenied
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.sign_in import second_factor
from farthing.identity.sign_in.back_off import account_key, begin_attempt, forget_attempts
from farthing.identity.sign_in.password_change import change_password, require_password
from farthing.identity.sign_in.sessions import end_all_sessions, end_session, listed
from farthing.identity.tables import User
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find
from farthing.web.access.sessions import Sessions
from farthing.web.access.visitors import form_of, own_account, visitor_of
from farthing.web.forms.pages import session_anew
from farthing.web.people.user_agents import describe
from farthing.web.rendering.answers import HttpRequest, done, go, refused, render
from farthing.web.rendering.words import wording

PAGE = "/account"


class OwnAccount(Controller):
    """The account of whoever is signed in."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[own_account(READ)])
    async def show(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Everything about signing in that a person decides alone."""
        return await _page(request, session, services)

    @post("/password", guards=[own_account(WRITE)])
    async def change(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Change the password; every other session ends."""
        given, visitor = form_of(request), visitor_of(request)
        try:
            old, new = given.get("old_password", ""), given.get("new_password", "")
            await change_password(services.part(Database), visitor.caller.user_id, old, new, visitor.session_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "The password is changed. Every other session has ended.")

    @post("/sessions/{session_id:str}/sign-out", guards=[own_account(WRITE)])
    async def end(
        self, session_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """End one session."""
        try:
            await end_session(
                session, visitor_of(request).caller.user_id, session_id, services.part(Database).clock.now()
            )
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "That session has ended.")

    @post("/sign-out-everywhere", guards=[own_account(WRITE)])
    async def end_all(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """End every session, this one too."""
        await end_all_sessions(session, visitor_of(request).caller.user_id, services.part(Database).clock.now())
        sessions = services.part(Sessions)
        return go("/sign-in", sessions.plain_cookie(sessions.cookie_name, "", 0))

    @post("/second-factor", guards=[own_account(WRITE)], status_code=200)
    async def begin(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Draw a secret and show it, for an authenticator app; it counts once a code confirms it."""
        user_id, given = visitor_of(request).caller.user_id, form_of(request).get("password", "")
        try:
            await require_password(services.part(Database), user_id, given)
            session = await unit_of_work(request).admitted_session()
            user = await find(session, User, user_id)
            enrolment = await second_factor.begin_enrolment(
                session, services.part(SealedBox), user, services.part(Database).clock.now()
            )
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return await _page(request, session, services, enrolment=enrolment, picture=_picture(enrolment.uri))

    @post("/second-factor/confirm", guards=[own_account(WRITE)], status_code=200)
    async def confirm(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Make the second factor count, and show the recovery codes, once."""
        database, user_id = services.part(Database), visitor_of(request).caller.user_id
        key = account_key(f"confirm {user_id}")
        try:
            # nobody guesses a code in a browser that its owner left before the end
            await begin_attempt(database, key)
            codes = await second_factor.confirm_enrolment(
                session,
                services.part(SealedBox),
                user_id,
                form_of(request).get("code", "")[:64],
                database.clock.now(),
            )
            await forget_attempts(database, key)
        except PermissionDenied as error:
            # the app has the secret; it is not shown to whoever stands here without the password
            anew = await session_anew(request)
            return await _page(request, anew, services, status=400, wrong_code=wording.reason(error))
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return await _page(request, session, services, recovery_codes=codes)

    @post("/second-factor/remove", guards=[own_account(WRITE)])
    async def remove(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Sign in with the password alone again; the password is asked for."""
        user_id, given = visitor_of(request).caller.user_id, form_of(request).get("password", "")
        try:
            await require_password(services.part(Database), user_id, given)
            await second_factor.remove(await unit_of_work(request).admitted_session(), user_id)
        except FarthingError as error:
            return await refused(request, PAGE, error)
        return done(request, PAGE, "The second factor is removed.")


async def _page(request: HttpRequest, session: AsyncSession, services: Composition, **shown: Any) -> Response[str]:
    visitor = visitor_of(request)
    user = await find(session, User, visitor.caller.user_id)
    factor = await second_factor.of_person(session, user.id)
    open_sessions = await listed(session, user, services.part(Database).clock.now())
    values = {"enrolment": None, "picture": "", "recovery_codes": [], "wrong_code": "", **shown}
    return render(
        request,
        "account.html",
        factor=factor if factor is not None and factor.confirmed_at is not None else None,
        sessions=[(row, describe(row.user_agent)) for row in open_sessions],
        **values,
    )


def _picture(uri: str) -> Markup:
    """A QR code as inline SVG: no script, no style and nothing from elsewhere, as the pages' policy wants."""
    drawn = segno.make(uri, error="m", micro=False)
    return Markup(drawn.svg_inline(scale=5, border=3, dark="#000", light="#fff", svgclass="qr", lineclass=None))  # noqa: S704 (drawn by the library from our own text)
