"""What every page of the portal has in common: the merchant's look, the reader's language, and refusals in it."""

from __future__ import annotations

from typing import Any

from litestar import Response

from farthing.api.services import services_of
from farthing.core.errors import FarthingError, NotFound, PermissionDenied, ValidationFailed
from farthing.core.standards.languages import LANGUAGES
from farthing.web.access.sessions import Sessions
from farthing.web.dashboard.subscriptions.forms.two_steps import ChangedMeanwhile
from farthing.web.portal.visit.session import PortalVisit, visit_of
from farthing.web.portal.visit.typed_numbers import NotANumber
from farthing.web.rendering.answers import HttpRequest, done, go, private, refused, render
from farthing.web.rendering.languages import LANGUAGE_COOKIE, LocalWords
from farthing.web.rendering.themes import theme_digest

_LANGUAGE_SECONDS = 365 * 24 * 3600
_SECTIONS = (
    ("home", "", None),
    ("usage", "/usage", "usage"),
    ("alerts", "/alerts", "alerts"),
    ("methods", "/methods", "payment_methods"),
    ("details", "/details", "edit_details"),
)
"""The name of a page's text, its place below the customer's address, and the switch it hangs on."""


def address(request: HttpRequest, place: str = "") -> str:
    """The address of a page of the customer's."""
    return f"/portal/{request.path_params['token']}{place}"


def portal_page(request: HttpRequest, template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """A page in the reader's language, which is remembered where it was chosen on the page."""
    visit = visit_of(request)
    home = address(request)
    answer = render(
        request,
        template,
        status=status,
        token=request.path_params["token"],
        home=home,
        visit=visit,
        t=visit.words.texts,
        local=visit.words,
        languages=LANGUAGES,
        sections=[(name, home + place) for name, place, item in _SECTIONS if item is None or visit.offers(item)],
        theme=theme_digest(visit.theme),
        **values,
    )
    if request.query_params.get("lang") in LANGUAGES:
        sessions: Sessions = services_of(request).part(Sessions)
        answer.set_cookie(sessions.plain_cookie(LANGUAGE_COOKIE, visit.words.language, _LANGUAGE_SECONDS))
    return private(answer)


def go_on(path: str) -> Response[str]:
    """Look at `path` instead."""
    return private(go(path))


def done_here(request: HttpRequest, place: str, text: str) -> Response[str]:
    """After a form that did what it was asked; `text` is the name of what is said."""
    return private(done(request, address(request, place), visit_of(request).words.texts[text]))


async def refused_here(request: HttpRequest, place: str, error: FarthingError) -> Response[str]:
    """After a form that a rule refused."""
    words = problem_text(visit_of(request).words, error)
    return private(await refused(request, address(request, place), error, words))


def problem_text(words: LocalWords, error: FarthingError) -> str:
    """Why something was refused, as far as the reader can do something about it; rules speak English."""
    if isinstance(error, NotANumber):
        (label,) = refused_fields(words, error).values()
        return words.text("problem_number", field=label)
    if isinstance(error, ValidationFailed):
        fields = refused_fields(words, error)
        return words.text("problem_fields", fields=", ".join(fields.values())) if fields else words.texts["problem"]
    if isinstance(error, ChangedMeanwhile):
        return words.texts["problem_changed"]
    if isinstance(error, NotFound):
        return words.texts["problem_missing"]
    if isinstance(error, PermissionDenied):
        return words.texts["problem_forbidden"]
    return words.texts["problem"]


def refused_fields(words: LocalWords, error: FarthingError) -> dict[str, str]:
    """The labels of the fields that a refusal is about, by name; those of no form are left out."""
    if not isinstance(error, ValidationFailed):
        return {}
    names = [path.rpartition(".")[2] for path in error.details]
    return {name: words.texts[f"field_{name}"] for name in names if f"field_{name}" in words.texts}


def require_offered(visit: PortalVisit, item: str) -> None:
    """Refuse what the merchant has switched off. Raises PermissionDenied."""
    if not visit.offers(item):
        raise PermissionDenied("The seller does not offer this here")
