"""Mails: all that were sent or wait, sending a parked one again, and what each kind looks like."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, NotFound
from farthing.core.standards.languages import LANGUAGES
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.notifications.email.asking import obstacle_to_mail, send_again
from farthing.notifications.email.content.letter import Letter, compose
from farthing.notifications.email.content.samples import SAMPLES
from farthing.notifications.email.letterhead import letterhead_of
from farthing.notifications.email.reads import list_emails
from farthing.notifications.email.schemas import EmailQuery
from farthing.notifications.email.tables import EmailKind, EmailState
from farthing.settings import Settings
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.rendering.answers import POLICY, HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing

PAGE = "/emails"
_LETTER_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
"""A mail has its styles in itself; nothing else in it may act."""
_SAMPLE_LINK = "https://example.com/portal"


class EmailPages(Controller):
    """Mails to customers."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("customer")])
    async def all(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """The newest mails, narrowed by how far they are and by kind."""
        shown = listing(request, (), "")
        state, kind = (request.query_params.get(name, "") for name in ("state", "kind"))
        query = EmailQuery(
            limit=shown.per_page,
            offset=shown.offset,
            status=EmailState(state) if state in set(EmailState) else None,
            kind=EmailKind(kind) if kind in set(EmailKind) else None,
        )
        emails, shown.total = await list_emails(session, query)
        return render(
            request,
            "emails.html",
            emails=emails,
            names=await names_of(session, {email.customer_id for email in emails}),
            listing=shown,
            state=state,
            kind=kind,
            states=[(each.value, each.value.capitalize()) for each in EmailState],
            kinds=[(each.value, each.value.replace("_", " ").capitalize()) for each in EmailKind],
            obstacle=await obstacle_to_mail(session, services.part(Settings)),
        )

    @post("/{email_id:str}", guards=[changes("customer")])
    async def again(self, email_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Send a parked mail again, and go back to the page that offered it."""
        back = form_of(request).get("back", "")
        here = back if back.startswith(("/invoices/", "/customers/")) and "\\" not in back else PAGE
        try:
            await send_again(session, email_id)
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "The mail is queued again, and handed in within a minute.")

    @get("/preview", guards=[shows("customer")])
    async def preview(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One kind of mail in one language, under the company's own letterhead."""
        language = request.query_params.get("language", "") or (await read(session, EmailConfig)).language
        kind = request.query_params.get("kind", "") or EmailKind.INVOICE_ISSUED.value
        letter = await _sample(session, kind, language)
        page = render(
            request,
            "email_preview.html",
            letter=letter,
            kind=kind,
            language=language,
            kinds=[(each.value, each.value.replace("_", " ").capitalize()) for each in EmailKind],
            languages=list(LANGUAGES.items()),
        )
        page.headers["content-security-policy"] = f"{POLICY}; frame-src 'self'"
        return page

    @get("/preview/{kind:str}/{language:str}", guards=[shows("customer")])
    async def letter(self, kind: str, language: str, session: AsyncSession) -> Response[str]:
        """The mail itself, as a mail program shows it."""
        letter = await _sample(session, kind, language)
        headers = {"content-security-policy": _LETTER_POLICY, "cache-control": "no-store"}
        return Response(letter.html, media_type="text/html", headers=headers)


async def _sample(session: AsyncSession, kind: str, language: str) -> Letter:
    """A sample under the letterhead of the session's environment. Raises NotFound."""
    if kind not in set(EmailKind) or language not in LANGUAGES:
        raise NotFound("There is no such mail")
    letterhead = await letterhead_of(session, await read(session, EmailConfig))
    return compose(SAMPLES[EmailKind(kind)], letterhead, language, _SAMPLE_LINK, inline_logo=True)
