"""How a page leaves the house: rendered, guarded by headers, or a redirect after a form; and errors as pages."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
import jwt
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect, Stream
from markupsafe import Markup

from farthing.api.errors import answer as json_answer
from farthing.api.errors import as_domain_error, log_failure
from farthing.api.services import services_of
from farthing.api.work import route_of, unit_of_work
from farthing.core.errors import FarthingError
from farthing.identity.credentials.keys import derived_key
from farthing.identity.credentials.master_key import MasterKeys, signed_claims
from farthing.storage.postgres import Database
from farthing.web.access.sessions import Sessions
from farthing.web.access.visitors import VISITOR, SignInNeeded, StaleForm, Visitor, session_of
from farthing.web.rendering import assets, charts
from farthing.web.rendering.languages import LANGUAGE_COOKIE, PORTAL, choose_language, page_texts
from farthing.web.rendering.words import activities, recorded_values, wording
from farthing.web.rendering.words.field_names import with_labels

HttpRequest = Request[Any, Any, Any]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    # a form must be able to say that it came from us; the portal's addresses are secrets and say nothing
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
NOTICE = "farthing_notice"
_NOTICE_SECONDS = 60
_LATER = Markup("<!-- later -->")
"""Where the later part of a page will stand; what people have typed is escaped, and never this."""


@cache
def _environment() -> jinja2.Environment:
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    pages.filters.update(wording.FILTERS)
    pages.globals.update(wording.GLOBALS, asset=assets.url, charts=charts, said=activities, recorded=recorded_values)
    return pages


def render(request: HttpRequest, template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """A page from a template; it sees `visitor`, `path` and a `notice` left by the form before, if any."""
    notice = _read_notice(request)
    content = with_labels(_text_of(request, template, values, notice))
    cookies = _spent(request, notice)
    return Response(content, status_code=status, media_type="text/html", headers=HEADERS, cookies=cookies)


def render_in_parts(
    request: HttpRequest,
    template: str,
    later_template: str,
    later_values: Callable[[], Awaitable[Mapping[str, Any]]],
    **values: Any,
) -> Stream:
    """A page that begins to leave at once, so that somebody sees it while `later_values` are still being read.

    What `later_template` makes of them stands where the page says `later`, and follows in the same answer and from the
    same snapshot: the page needs no script. As the status has left by then, a failure is told in the place of that
    part, and counted and logged as the status that it would have had.
    """
    notice = _read_notice(request)
    before, _, after = with_labels(_text_of(request, template, values, notice, later=_LATER)).partition(_LATER)
    unit_of_work(request).answer_in_parts()

    async def parts() -> AsyncIterator[str]:
        yield before
        try:
            later = _text_of(request, later_template, {**values, **await later_values()})
        except Exception as error:  # noqa: BLE001 (as the framework's, which can no longer answer another status)
            await unit_of_work(request).finish(commit=False)
            later = _missing_part(request, error)
        yield with_labels(before + later + after).removeprefix(before)

    headers = {**HEADERS, "x-accel-buffering": "no"}  # a proxy that waits for the whole would undo it
    return Stream(parts(), media_type="text/html", headers=headers, cookies=_spent(request, notice))


def _text_of(
    request: HttpRequest,
    template: str,
    values: Mapping[str, Any],
    notice: dict[str, str] | None = None,
    later: str = "",
) -> str:
    """What a template makes of values, before fields have their labels."""
    visitor: Visitor | None = request.scope.get(VISITOR)  # type: ignore[assignment]  # put there by the guard
    seen = {"visitor": visitor, "path": request.url.path, "notice": notice, "query": request.query_params}
    return _environment().get_template(template).render(**seen, later=later, **values)


def _missing_part(request: HttpRequest, exception: Exception) -> str:
    """Why a part of a page is missing, in its place."""
    error, request_id = _error_to_show(request, exception)
    unit_of_work(request).late_failure = error.status
    return _text_of(request, "missing_part.html", {"error": error, "request_id": request_id})


def go(path: str, *cookies: Cookie) -> Redirect:
    """After a form: look at `path` (of ours) instead, so that reloading repeats nothing."""
    return Redirect(path, status_code=303, headers=HEADERS, cookies=list(cookies))


def private(answer: Response[Any]) -> Response[Any]:
    """The address is a secret: no page it leads to is told of it."""
    answer.headers["referrer-policy"] = "no-referrer"
    return answer


def done(request: HttpRequest, path: str, words: str) -> Redirect:
    """After a form that did what it was asked: go on, and say so there."""
    return go(path, _notice(request, "done", words))


async def refused(request: HttpRequest, path: str, error: FarthingError, words: str = "") -> Redirect:
    """After a form that a rule refused: undo everything, go back, and say why; in `words` where they are given."""
    await unit_of_work(request).finish(commit=False)
    return go(path, _notice(request, "refused", words or wording.reason(error)))


def own_path(path: str | None) -> str:
    """`path` if it leads into this site, else the front page; a bare word or another host would lead away."""
    if path and path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path and path.isprintable():
        return path
    return "/"


def _page_of_form(request: HttpRequest) -> str:
    """The page of ours that a form was sent from, as far as the browser says; else the front page."""
    sent_from = urlsplit(request.headers.get("referer", ""))
    if not sent_from.netloc or sent_from.netloc != request.headers.get("host"):
        return "/"
    return own_path(sent_from.path + (f"?{sent_from.query}" if sent_from.query else ""))


def _notice(request: HttpRequest, kind: str, words: str) -> Cookie:
    sessions: Sessions = services_of(request).part(Sessions)
    key = derived_key(services_of(request).part(MasterKeys).current, "web-notices")
    text = jwt.encode({"kind": kind, "words": words[:500], "sid": _reader(request)}, key, "HS256")
    return sessions.plain_cookie(NOTICE, text, _NOTICE_SECONDS)


def _reader(request: HttpRequest) -> str:
    """Whom a notice is for: the browser's session, or the portal's."""
    token = request.path_params.get("token")
    return hashlib.sha256(str(token).encode()).hexdigest() if token else session_of(request).id


def _read_notice(request: HttpRequest) -> dict[str, str] | None:
    cookie = request.cookies.get(NOTICE)
    if not cookie:
        return None
    services = services_of(request)
    try:
        masters = services.part(MasterKeys).accepted(services.part(Database).clock.now())
        claims = signed_claims(cookie, masters, "web-notices", algorithms=["HS256"])
    except jwt.PyJWTError:
        return None
    return claims if claims.get("sid") == _reader(request) else None


def _spent(request: HttpRequest, notice: dict[str, str] | None) -> list[Cookie]:
    """What takes back a notice that was shown."""
    sessions: Sessions = services_of(request).part(Sessions)
    return [] if notice is None else [sessions.plain_cookie(NOTICE, "", 0)]


def error_page(request: HttpRequest, exception: Exception) -> Response[Any]:
    """An error on a page is a page; whoever is not signed in is asked to."""
    if isinstance(exception, SignInNeeded):
        if request.method != "GET":
            return go(f"/sign-in?ended=yes&next={quote(_page_of_form(request), safe='')}")
        return go(f"/sign-in?next={quote(own_path(exception.next_path), safe='')}")
    error, request_id = _error_to_show(request, exception)
    may_work_again = request.method == "GET" and error.status in {429, 500, 503}
    again = own_path(f"{request.url.path}?{request.url.query}".rstrip("?")) if may_work_again else ""
    if request.url.path.startswith(("/portal", "/checkout")):
        language = choose_language(
            request.query_params.get("lang"),
            request.cookies.get(LANGUAGE_COOKIE),
            accepted=request.headers.get("accept-language", ""),
        )
        values = {"language": language, "t": page_texts(PORTAL, language)}
        page = private(
            render(
                request,
                "portal/error.html",
                status=error.status,
                error=error,
                request_id=request_id,
                again=again,
                **values,
            )
        )
    else:
        form = _page_of_form(request) if request.method != "GET" else ""
        page = render(
            request,
            "error.html",
            status=error.status,
            error=error,
            request_id=request_id,
            form=form,
            again=again,
            is_stale=isinstance(exception, StaleForm),
            signed_in=session_of(request).signed_in,
        )
    if error.retry_after_seconds is not None:
        page.headers["retry-after"] = str(error.retry_after_seconds)
    return page


def _error_to_show(request: HttpRequest, exception: Exception) -> tuple[FarthingError, str]:
    """An exception as the error that is shown, and the request's id where it is a failure of ours, which is logged."""
    error = as_domain_error(exception)
    if error.status < 500:
        return error, ""
    log_failure(error, exception, route_of(request.scope))
    return error, unit_of_work(request).request_id


def answer(request: HttpRequest, exception: Exception) -> Response[Any]:
    """Any failure of any route: a page for a browser outside the API, else the API's error body."""
    wants_page = "text/html" in request.headers.get("accept", "")
    if wants_page and request.method == "GET" and not request.url.path.startswith(("/v1", "/health", "/metrics")):
        return error_page(request, exception)
    return json_answer(request, exception)
