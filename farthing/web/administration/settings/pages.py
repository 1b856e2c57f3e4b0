"""Pages of settings: all of them with their present values in words, one with its form, and its change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import Configuration, InvoiceConfig
from farthing.identity.settings.current import Effective
from farthing.web.access.visitors import changes, shows, visitor_of
from farthing.web.administration.settings.around import SettingEntry, around_settings
from farthing.web.administration.settings.setting_form import shown_value, value_of
from farthing.web.administration.settings.setting_pages import PAGES, SettingGroup, SettingPage, spoken_parts
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import FormPage, answer_form, form_page, typed
from farthing.web.rendering.answers import HttpRequest, done, refused, render

HOME = "/settings"
_CRUMBS = ((HOME, "Settings"),)


class SettingsPages(Controller):
    """Settings of the environment."""

    path = HOME
    include_in_schema = False

    @get("/", guards=[shows("setting")])
    async def all(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Everything that is set, in words."""
        found = await current.effective_all(session)
        groups: list[tuple[str, Sequence[SettingEntry]]] = await around_settings(
            session, visitor_of(request), clock.now()
        )
        groups += [
            (group.value, [_entry(page, found[page.kind]) for page in PAGES.values() if page.group is group])
            for group in SettingGroup
        ]
        return render(
            request,
            "settings/overview.html",
            groups=groups,
            activities=await newest_activities(request, session, entity_type="setting"),
            activity_query={"entity_type": "setting"},
            zone=found[InvoiceConfig].value["timezone"],
        )

    @get("/{key:str}", guards=[shows("setting")])
    async def one(self, key: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """One setting: its form, or its value in words for who may not change it."""
        page = PAGES[current.kind_of(key).key]
        if page.elsewhere:
            return Redirect(page.elsewhere, status_code=303)
        effective = await current.effective(session, page.kind)
        if page.form is None or not visitor_of(request).leads:
            return render(
                request,
                "settings/shown.html",
                page=page,
                parts=spoken_parts(_without_pictures(effective.value)),
                is_stored=effective.row is not None,
            )
        sections = page.form()
        form = FilledForm(sections, shown_value(sections, effective.value), is_filled=True)
        return form_page(request, _form_page(page, effective), form)

    @post("/{key:str}", guards=[changes("setting", admin=True)])
    async def write(self, key: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Change one setting."""
        page, given = PAGES[current.kind_of(key).key], typed(request)
        if page.form is None:
            return done(request, page.path, "Nothing was changed: this is shown only.")
        sections = page.form()

        async def save() -> Redirect:
            await current.write(session, page.kind, value_of(page.kind, sections, given))
            return done(request, page.path, "Saved.")

        return await answer_form(
            request, _form_page(page, await current.effective(session, page.kind)), sections, given, save
        )

    @post("/{key:str}/reset", guards=[changes("setting", admin=True)])
    async def reset(self, key: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Let the defaults of a setting apply again."""
        page = PAGES[current.kind_of(key).key]
        try:
            if page.form is not None:
                await current.delete(session, page.kind)
        except FarthingError as error:
            return await refused(request, page.path, error)
        return done(request, page.path, "The defaults apply again.")


def _entry(page: SettingPage, effective: Effective) -> SettingEntry:
    value: Configuration = convert(effective.value, page.kind)
    return SettingEntry(page.title, page.path, page.about, page.in_words(value))


def _form_page(page: SettingPage, effective: Effective) -> FormPage:
    lead = f"{page.about} It belongs to the company, not to one environment." if page.kind.tenant_level else page.about
    return FormPage(page.title, _CRUMBS, "Save", lead, below="settings/reset.html" if effective.row else "")


def _without_pictures(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name != "logo"}
