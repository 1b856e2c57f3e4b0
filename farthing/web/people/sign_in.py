"""Signing in and out, and looking at another environment."""

from __future__ import annotations

from datetime import datetime

from litestar import Controller, Response, get, post

from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, PermissionDenied, ServiceUnavailable, TooManyRequests, ValidationFailed
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.routes import limit_by_address, origin_of
from farthing.identity.sign_in import email_and_password, passwords, second_factor
from farthing.identity.sign_in.password_change import check_new_password
from farthing.identity.sign_in.sessions import end_session, open_session, password_stamp, valid_session
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import User
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.sessions import DEVICE, LIFE, Session, Sessions
from farthing.web.access.visitors import form_of, require_own_form, session_of, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, error_page, go, own_path, render
from farthing.web.rendering.words.wording import reason


class SigningIn(Controller):
    """Pages that nobody needs to be signed in for."""

    include_in_schema = False

    @get("/sign-in")
    async def form(self, request: HttpRequest, services: Composition) -> Response[str]:
        """The sign-in form."""
        return public_form(request, services, "sign_in.html", next=own_path(request.query_params.get("next")), email="")

    @post("/sign-in", before_request=limit_by_address)
    async def sign_in(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Open a session under a new id, ask for a code, or show the form again."""
        database, sessions = services.part(Database), services.part(Sessions)
        session, now = session_of(request), database.clock.now()
        require_own_form(request, session)
        given = form_of(request)
        email, next_path = given.get("email", ""), own_path(given.get("next"))
        device = sessions.device(request.cookies.get(DEVICE), email.lower(), now)
        try:
            password = given.get("password", "")[: passwords.LONGEST]
            user = await email_and_password.sign_in(database, email, password, device)
        except (PermissionDenied, TooManyRequests, ServiceUnavailable) as error:
            return public_form(request, services, "sign_in.html", error=error, next=next_path, email=email)
        async with database.transaction(SYSTEM, read_only=True) as rows:
            needs_code = await second_factor.is_required(rows, user.id)
        if needs_code:
            step = sessions.second_step(session, user.id, password_stamp(user), now)
            return public_form(request, services, "second_step.html", next=next_path, step=step)
        return await _opened(request, services, user, next_path)

    @post("/sign-in/code", before_request=limit_by_address)
    async def code(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Open a session for whoever gave the right password a moment ago, given a code of the second factor."""
        database = services.part(Database)
        session, now = session_of(request), database.clock.now()
        require_own_form(request, session)
        given = form_of(request)
        next_path = own_path(given.get("next"))
        user = await _person_at_second_step(services, session, given.get("step", ""), now)
        if user is None:
            late = PermissionDenied("That took too long. Please sign in again.")
            return public_form(request, services, "sign_in.html", error=late, next=next_path, email="")
        try:
            code = given.get("code", "")[:64]
            await second_factor.check_code(database, services.part(SealedBox), user.id, code)
        except (PermissionDenied, TooManyRequests) as error:
            return public_form(request, services, "second_step.html", error=error, next=next_path, step=given["step"])
        return await _opened(request, services, user, next_path)

    @get("/sign-up")
    async def sign_up_form(self, request: HttpRequest, services: Composition) -> Response[str]:
        """The form for a new company."""
        _demand_open(services)
        return public_form(request, services, "sign_up.html", email="", company="")

    @post("/sign-up", before_request=limit_by_address)
    async def sign_up(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Make a company and its first person, and sign that person in."""
        _demand_open(services)
        require_own_form(request, session_of(request))
        given = form_of(request)
        email, company, password = given.get("email", ""), given.get("company", ""), given.get("password", "")
        try:
            check_new_password(password)
            if not 1 <= len(company) <= 255:
                raise ValidationFailed.of("company", "must have 1 to 255 characters")
            user = await email_and_password.sign_up(
                services.part(Database), email=email, password=password, tenant_name=company, metadata=None
            )
        except FarthingError as error:
            return public_form(request, services, "sign_up.html", error=error, email=email, company=company)
        return await _opened(request, services, user, "/")

    @post("/sign-out")
    async def sign_out(self, request: HttpRequest, services: Composition) -> Response[str]:
        """End the session, for every copy of its cookie."""
        database, sessions = services.part(Database), services.part(Sessions)
        session, now = session_of(request), database.clock.now()
        require_own_form(request, session)
        if session.signed_in:
            async with database.transaction(SYSTEM) as rows:
                user = await rows.get(User, session.user_id)
                found = await valid_session(rows, session.id, SessionKind.DASHBOARD, user, now) if user else None
                if found is not None:
                    await end_session(rows, found.user_id, found.id, now)
        return go("/sign-in?left=yes", sessions.plain_cookie(sessions.cookie_name, "", 0))

    @post("/environment", guards=[shows("environment")])
    async def switch(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Look at another environment from now on."""
        visitor = visitor_of(request)
        require_own_form(request, visitor.session)
        wanted = form_of(request).get("environment", "")
        chosen = next((environment for environment in visitor.environments if environment.id == wanted), None)
        if chosen is None:
            return error_page(request, PermissionDenied("There is no such environment"))
        sessions: Sessions = services.part(Sessions)
        answer = done(request, "/", f"You are now looking at {chosen.name}.")
        answer.cookies.append(sessions.cookie(visitor.session.looking_at(chosen.id)))
        return answer


def _demand_open(services: Composition) -> None:
    if not services.part(Settings).signup_enabled:
        raise PermissionDenied("Sign-up is switched off in this deployment")


async def _person_at_second_step(services: Composition, session: Session, step: str, now: datetime) -> User | None:
    """Who gave the right password in this browser, if it still is the password."""
    proven = services.part(Sessions).read_second_step(session, step, now)
    if proven is None:
        return None
    user_id, stamp = proven
    async with services.part(Database).transaction(SYSTEM, read_only=True) as rows:
        user: User | None = await rows.get(User, user_id)
    return user if user is not None and password_stamp(user) == stamp else None


async def _opened(request: HttpRequest, services: Composition, user: User, next_path: str) -> Response[str]:
    database, sessions = services.part(Database), services.part(Sessions)
    now = database.clock.now()
    async with database.transaction(SYSTEM) as rows:
        token = await open_session(rows, user, SessionKind.DASHBOARD, LIFE, origin_of(request), now)
    cookie = sessions.cookie(Session(token, user.id, "", now + LIFE))
    return go(next_path, cookie, sessions.device_cookie(user.email or "", now))


def public_form(
    request: HttpRequest,
    services: Composition,
    template: str,
    *,
    error: FarthingError | None = None,
    **values: object,
) -> Response[str]:
    """A page with a form for whoever is not signed in; with `error` the form is shown again, and why."""
    sessions = services.part(Sessions)
    session = session_of(request)
    page = render(
        request,
        template,
        status=error.status if error is not None else 200,
        problem=reason(error) if error is not None else "",
        form_token=sessions.form_token(session),
        signup_enabled=services.part(Settings).signup_enabled,
        **values,
    )
    if error is not None and error.retry_after_seconds:
        page.headers["retry-after"] = str(error.retry_after_seconds)
    page.cookies.append(sessions.cookie(session))
    return page
