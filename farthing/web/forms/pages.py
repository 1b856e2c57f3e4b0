"""Pages with a form that is composed of fields, and pages that ask once more before something is done."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from litestar import Response
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal, unit_of_work
from farthing.core.errors import FarthingError
from farthing.core.ids import new_ulid
from farthing.web.access.submissions import SentBefore, begin_submission, end_submission
from farthing.web.access.visitors import form_of
from farthing.web.forms.fields import Sections
from farthing.web.forms.filled import FilledForm, conditions_text, refused_form
from farthing.web.forms.reading import is_only_looked_at, reshaped
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.words import wording

_ONE_OF_SEVERAL = re.compile(r"\b1 ((?:\w+ )?\w+)s\b")
ONCE = "once"
"""The field by which a form that is sent twice is known."""
Crumbs = Sequence[tuple[str, str]]
"""Where a page belongs: addresses and their words, the nearest last."""


@dataclass(frozen=True, slots=True)
class FormPage:
    """What stands around a form. `aside` is the template of what stands beside it."""

    title: str
    crumbs: Crumbs
    button: str
    lead: str = ""
    aside: str = ""
    confirmation: str = ""
    """The template of what stands above the button."""
    below: str = ""
    """The template of what stands under the form."""
    address: str = ""
    """Where the form goes, if not to the address of its page."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is asked before something is done that is not undone; `obstacle` says why it cannot be done."""

    title: str
    crumbs: Crumbs
    button: str
    consequences: Sequence[str]
    obstacle: str = ""
    ways_out: Crumbs = ()
    """Where the obstacle can be removed."""


def typed(request: HttpRequest) -> dict[str, str]:
    """The fields of a posted form, its rows numbered from 0."""
    return reshaped(form_of(request))


def form_page(request: HttpRequest, page: FormPage, form: FilledForm, **values: Any) -> Response[str]:
    """A page with a form; one that was refused is answered as a bad request, so that nothing stays done."""
    return render(
        request,
        "form_page.html",
        status=400 if form.alert else 200,
        page=page,
        form=form,
        once=form.given.get(ONCE) or new_ulid(),
        aside=page.aside,
        confirmation=page.confirmation,
        below=page.below,
        conditions_text=conditions_text,
        **values,
    )


async def made_once(
    request: HttpRequest, session: AsyncSession, now: datetime, make: Callable[[], Awaitable[tuple[str, str]]]
) -> Redirect:
    """Make what a form asks for, once however often it is sent; `make` says where to go on, and what to say there."""
    once = form_of(request).get(ONCE, "")[:50] or new_ulid()
    try:
        key = await begin_submission(session, once, now)
    except SentBefore as sent:
        return done(request, sent.path, "This was sent twice, and done once.")
    path, words = await make()
    await end_submission(session, key, path)
    return done(request, path, words)


async def answer_form(
    request: HttpRequest,
    page: FormPage,
    sections: Sections,
    given: dict[str, str],
    save: Callable[[], Awaitable[Redirect]],
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Response[Any]:
    """Do what a form asks for, and go on; show it again where it is only looked at, or refused, and then undone.

    `values` are for the templates beside and below the form.
    """
    if is_only_looked_at(given):
        return form_page(request, page, FilledForm(sections, given, is_filled=True), **values)
    try:
        return await save()
    except FarthingError as error:
        await session_anew(request)
        return form_page(request, page, refused_form(sections, given, error), **values)


def confirm_page(request: HttpRequest, confirmation: Confirmation) -> Response[str]:
    """A page that says what will happen, with a button that does it, or says why it cannot happen."""
    return render(request, "confirm.html", asked=confirmation)


async def session_anew(request: HttpRequest) -> AsyncSession:
    """A session that sees what stands, after what a refused form changed is undone."""
    work = unit_of_work(request)
    await work.finish(commit=False)
    return work.session


async def obstacle_to(
    request: HttpRequest, change: Callable[[AsyncSession], Awaitable[object]], names: Mapping[str, str]
) -> str:
    """Why `change` is refused as things stand; "" if it is not. It is tried, and undone.

    `names` are what people call the rows whose ids the refusal says.
    """
    async with rehearsal(request) as undone:
        try:
            await change(undone)
            await undone.flush()
        except FarthingError as error:
            plainly = _ONE_OF_SEVERAL.sub(r"1 \1", wording.reason(error))
            for row_id, name in names.items():
                plainly = plainly.replace(row_id, name)
            return plainly.removesuffix(".")
    return ""
