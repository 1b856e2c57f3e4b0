"""What customers see and may do in their portal: colours and a logo, looked at before they are saved; switches."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.api.work import unit_of_work
from farthing.catalogue.plans.tables import Plan
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, PermissionDenied, ValidationFailed
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import CustomerPortalConfig, InvoicePdfConfig
from farthing.identity.settings.logo import MAX_BYTES, Logo
from farthing.identity.settings.portal_sections import PortalItems, Theme, require_visible_accent
from farthing.web.access.upload_form import UploadForm
from farthing.web.access.visitors import changes, form_of, shows, uploads, visitor_of
from farthing.web.administration.letterhead import picture_address
from farthing.web.rendering.answers import POLICY, HttpRequest, done, refused, render
from farthing.web.rendering.charts import StripPart
from farthing.web.rendering.themes import theme_digest, theme_style
from farthing.web.rendering.words.wording import reason, with_query

PAGE = "/customer-portal"
_MOST_PLANS = 100
SAMPLE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'self'; base-uri 'none'"
)
_SAMPLE_PARTS = (
    StripPart("Usage", Decimal("984.50"), "Usage $984.50", "usage"),
    StripPart("Fixed", Decimal(300), "Fixed $300.00", "fixed"),
)
HANDED_ON = {"secondary_color": "Second colour", "tertiary_color": "Third colour"}
"""Colours that only portals of other programs read."""
BACKGROUNDS = {"auto": "As the reader's device", "light": "Light", "dark": "Dark"}
ITEMS = {
    "invoices": ("Their invoices", "With what they owe, as PDF and e-invoice"),
    "pay": ("Pay", "Where a provider is connected"),
    "payment_methods": ("Payment methods", "See and add them, where a provider is connected"),
    "buy_credits": ("Buy credits", "For wallets that they have"),
    "usage": ("Usage", "By day, against limits, projected to the period's end, with the next invoice"),
    "edit_details": ("Edit their details", "Name, address, telephone, e-mail address and language"),
    "edit_tax_id": ("Edit their tax id", "It stands on their e-invoices"),
    "alerts": ("Spend alerts of their own", "They are mailed where mail is switched on"),
}
ENDINGS = {
    "none": "No",
    "end_of_period": "At the end of the open period",
    "immediate": "At the end of the open period, or at once",
}


class PortalSettingsPages(Controller):
    """The look of the portal, and what is switched on in it."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("setting")])
    async def page(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What is set, in a form."""
        config = await current.read(session, CustomerPortalConfig)
        return await _page(request, session, config.theme, config.items)

    @post("/", guards=[changes("setting", admin=True)], status_code=200)
    async def write(self, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Save it, or only show how it would look."""
        given = form_of(request)
        try:
            stands = await current.read(session, CustomerPortalConfig)
            theme, items = _theme(given, stands.theme), _items(given, stands.items)
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        if given.get("action") == "preview":
            return await _page(request, session, theme, items)
        said = {"theme": theme, "items": items}
        try:
            raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in said.items()}
            await current.write(session, CustomerPortalConfig, raw)
        except (FarthingError, msgspec.ValidationError) as error:
            return await _page(request, session, theme, items, reason(as_domain_error(error)))
        return done(request, PAGE, "Saved. Customers see it with their next click.")

    @post("/logo", guards=[uploads("setting")])
    async def upload_logo(self, request: HttpRequest) -> Response[Any]:
        """Take a logo for portal, invoices and mails."""
        form, work = UploadForm(request), unit_of_work(request)
        await form.read_fields()
        if not visitor_of(request).leads:
            raise PermissionDenied("Your role does not allow this")
        try:
            content = await _logo_of(form)
            await work.admit()
            await _set_logo(work.session, base64.b64encode(content).decode())
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, "Saved. The logo is on the portal, on invoices and in mails.")

    @post("/logo/remove", guards=[changes("setting", admin=True)])
    async def remove_logo(self, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """The company's name stands instead."""
        await _set_logo(session, "")
        return done(request, PAGE, "The logo is removed. Your company's name stands instead.")

    @get("/preview", guards=[shows("setting")])
    async def preview(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """A sample of the portal in the colours of the query, or why they cannot be."""
        theme, problem = _asked(request), ""
        try:
            require_visible_accent(theme)
        except ValidationFailed as error:
            theme, problem = Theme(background=theme.background), _why(error)
        page = render(
            request,
            "portal_sample.html",
            style=f"{PAGE}/preview.css{with_query(_query(theme))}" if theme_digest(theme) else "",
            problem=problem,
            seller=visitor_of(request).tenant_name,
            logo=picture_address((await current.read(session, InvoicePdfConfig)).logo),
            sample_parts=_SAMPLE_PARTS,
        )
        page.headers["content-security-policy"] = SAMPLE_POLICY
        return page

    @get("/preview.css", guards=[shows("setting")])
    async def preview_style(self, request: HttpRequest) -> Response[str]:
        """The style sheet of these colours."""
        style = theme_style(_asked(request))
        return Response(style, media_type="text/css; charset=utf-8", headers={"cache-control": "no-store"})


def _asked(request: HttpRequest) -> Theme:
    """The colours of the query; what is none of the backgrounds is as none."""
    given = request.query_params
    background = given.get("background", "")
    return Theme(
        primary_color=given.get("accent", "")[:20] or None,
        background=background if background in BACKGROUNDS else None,  # type: ignore[arg-type]  # checked here
    )


def _query(theme: Theme) -> dict[str, str]:
    return {"accent": theme.primary_color or "", "background": theme.background or ""}


def _theme(given: Mapping[str, str], stands: Theme) -> Theme:
    """The theme of a form. Raises what decodes into a refusal."""
    handed_on = {name: given.get(name, getattr(stands, name) or "") or None for name in HANDED_ON}
    return convert(
        {**handed_on, "primary_color": given.get("accent") or None, "background": given.get("background") or None},
        Theme,
    )


def _items(given: Mapping[str, str], stands: PortalItems) -> PortalItems:
    """The switches of a form. Raises what decodes into a refusal."""
    ticked = {name: name in given for name in ITEMS}
    endings = {name: given.get(name, getattr(stands, name)) for name in ("change_plan", "cancel")}
    plans = [name.removeprefix("plan:") for name in given if name.startswith("plan:")]
    return convert({**ticked, **endings, "plans": plans}, PortalItems)


async def _logo_of(form: UploadForm) -> bytes:
    """Raises ValidationFailed for what is no logo."""
    gathered = bytearray()
    async for piece in form.content():
        gathered += piece
        if len(gathered) > MAX_BYTES:
            raise ValidationFailed.of("logo", f"must be at most {MAX_BYTES // 1024} KiB")
    try:
        return Logo(bytes(gathered)).content
    except ValueError as error:
        raise ValidationFailed.of("logo", str(error)) from error


async def _set_logo(session: AsyncSession, logo: str) -> None:
    await current.write(session, InvoicePdfConfig, {"logo": msgspec.Raw(msgspec.json.encode(logo))})


def _why(error: ValidationFailed) -> str:
    """ "The accent cannot be seen ..."."""
    return f"The accent {next(iter(error.details.values()))}."


async def _page(
    request: HttpRequest, session: AsyncSession, theme: Theme, items: PortalItems, problem: str = ""
) -> Response[str]:
    plans = await session.execute(
        select(Plan.id, Plan.name)
        .where(Plan.status == Status.PUBLISHED)
        .order_by(Plan.name, Plan.id)
        .limit(_MOST_PLANS)
    )
    page = render(
        request,
        "portal_settings.html",
        status=400 if problem else 200,
        theme=theme,
        items=items,
        problem=problem,
        backgrounds=BACKGROUNDS,
        handed_on={name: (words, getattr(theme, name) or "") for name, words in HANDED_ON.items()},
        labels=ITEMS,
        endings=ENDINGS,
        plans=[(row.id, row.name) for row in plans],
        logo=picture_address((await current.read(session, InvoicePdfConfig)).logo),
        largest=f"{MAX_BYTES // 1024} KiB",
        sample=f"{PAGE}/preview{with_query(_query(theme))}",
    )
    page.headers["content-security-policy"] = f"{POLICY}; frame-src 'self'"
    return page
