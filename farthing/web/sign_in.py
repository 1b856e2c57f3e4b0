"""Signing in and out, and looking at another environment."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from litestar.datastructures import State

from farthing.core.errors import FarthingError, PermissionDenied, ValidationFailed
from farthing.identity import passwords, sign_in
from farthing.identity.routes import limit_by_address
from farthing.identity.tables import User
from farthing.web.answers import HttpRequest, done, error_page, go, own_path, render
from farthing.web.sessions import Sessions
from farthing.web.visitors import demand_own_form, form_of, session_of, shows, visitor_of
from farthing.web.wording import reason


class SigningIn(Controller):
    """The only pages that nobody needs to be signed in for."""

    include_in_schema = False

    @get("/sign-in")
    async def form(self, request: HttpRequest, state: State) -> Response[str]:
        """The sign-in form."""
        return _form(request, state, "sign_in.html", next=own_path(request.query_params.get("next")), email="")

    @post("/sign-in", before_request=limit_by_address)
    async def sign_in(self, request: HttpRequest, state: State) -> Response[str]:
        """Open a session under a new id, or show the form again."""
        demand_own_form(request, session_of(request))
        given = form_of(request)
        email, next_path = given.get("email", ""), own_path(given.get("next"))
        try:
            user = await sign_in.sign_in(state.database, email, given.get("password", "")[: passwords.LONGEST])
        except PermissionDenied as error:
            return _form(request, state, "sign_in.html", next=next_path, email=email, problem=error.message, status=403)
        return _opened(state, user, next_path)

    @get("/sign-up")
    async def sign_up_form(self, request: HttpRequest, state: State) -> Response[str]:
        """The form for a new company."""
        _demand_open(state)
        return _form(request, state, "sign_up.html", email="", company="")

    @post("/sign-up", before_request=limit_by_address)
    async def sign_up(self, request: HttpRequest, state: State) -> Response[str]:
        """Make a company and its first person, and sign that person in."""
        _demand_open(state)
        demand_own_form(request, session_of(request))
        given = form_of(request)
        email, company, password = given.get("email", ""), given.get("company", ""), given.get("password", "")
        try:
            if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
                raise ValidationFailed.of("password", f"must have {passwords.SHORTEST} characters or more")
            if not 1 <= len(company) <= 255:
                raise ValidationFailed.of("company", "must have 1 to 255 characters")
            user = await sign_in.sign_up(
                state.database, email=email, password=password, tenant_name=company, metadata=None
            )
        except FarthingError as error:
            return _form(
                request,
                state,
                "sign_up.html",
                email=email,
                company=company,
                problem=reason(error),
                status=error.status,
            )
        return _opened(state, user, "/")

    @post("/sign-out")
    async def sign_out(self, request: HttpRequest, state: State) -> Response[str]:
        """Forget the browser."""
        demand_own_form(request, session_of(request))
        sessions: Sessions = state.web_sessions
        return go("/sign-in", sessions.plain_cookie(sessions.cookie_name, "", 0))

    @post("/environment", guards=[shows("environment")])
    async def switch(self, request: HttpRequest, state: State) -> Response[str]:
        """Look at another environment from now on."""
        visitor = visitor_of(request)
        demand_own_form(request, visitor.session)
        wanted = form_of(request).get("environment", "")
        chosen = next((one for one in visitor.environments if one.id == wanted), None)
        if chosen is None:
            return error_page(request, PermissionDenied("There is no such environment"))
        sessions: Sessions = state.web_sessions
        answer = done(request, "/", f"You are now looking at {chosen.name}.")
        answer.cookies.append(sessions.cookie(visitor.session.looking_at(chosen.id)))
        return answer


def _demand_open(state: State) -> None:
    if not state.settings.signup_enabled:
        raise PermissionDenied("Sign-up is switched off in this deployment")


def _opened(state: State, user: User, next_path: str) -> Response[str]:
    sessions: Sessions = state.web_sessions
    return go(next_path, sessions.cookie(sessions.opened(user, state.database.clock.now())))


def _form(
    request: HttpRequest, state: State, template: str, *, problem: str = "", status: int = 200, **values: str
) -> Response[str]:
    sessions: Sessions = state.web_sessions
    session = session_of(request)
    page = render(
        request,
        template,
        status=status,
        problem=problem,
        form_token=sessions.form_token(session),
        signup_enabled=state.settings.signup_enabled,
        **values,
    )
    page.cookies.append(sessions.cookie(session))
    return page
