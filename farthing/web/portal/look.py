"""The merchant's look on the portal: its colours as a style sheet, and its logo."""

from __future__ import annotations

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotFound
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.web.portal.visit.session import in_path, visit_of
from farthing.web.rendering.answers import HttpRequest
from farthing.web.rendering.themes import theme_style

_KEPT = {"cache-control": "private, max-age=3600", "referrer-policy": "no-referrer"}


class PortalLook(Controller):
    """What the pages of one customer are dressed in; the address is the credential."""

    path = "/portal/{token:str}"
    include_in_schema = False

    @get("/theme.css", guards=[in_path(None)])
    async def theme(self, request: HttpRequest) -> Response[str]:
        """The merchant's colours."""
        style = theme_style(visit_of(request).theme)
        return Response(style, media_type="text/css; charset=utf-8", headers=_KEPT)

    @get("/logo", guards=[in_path(None)])
    async def logo(self, session: AsyncSession) -> Response[bytes]:
        """The logo that is also at the head of invoices."""
        stored = (await read(session, InvoicePdfConfig)).logo
        if not stored:
            raise NotFound("There is no logo")
        logo = Logo.of_base64(stored)
        return Response(logo.content, media_type=f"image/{'png' if logo.format == 'png' else 'jpeg'}", headers=_KEPT)
