"""A forgotten password: asking for a link, and setting a password with one."""

from __future__ import annotations

import structlog
from litestar import Controller, Response, get, post
from litestar.background_tasks import BackgroundTask
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, NotFound
from farthing.identity.routes import limit_by_address
from farthing.identity.sign_in.password_change import linked_person, redeem_link
from farthing.mail_server import MailServer
from farthing.notifications.email.password_mail import request_password_mail, send_password_mails
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.visitors import form_of, require_own_form, session_of
from farthing.web.people.sign_in import public_form
from farthing.web.rendering.answers import HttpRequest, go

log = structlog.get_logger(__name__)


class SettingPasswords(Controller):
    """Pages for whoever cannot sign in."""

    include_in_schema = False

    @get("/sign-in/forgotten")
    async def forgotten(self, request: HttpRequest, services: Composition) -> Response[str]:
        """How to get a link: by mail where there is mail, else from an administrator or the operator."""
        by_mail = services.part(Settings).mail_server() is not None
        return public_form(request, services, "forgotten.html", by_mail=by_mail, sent=False)

    @post("/sign-in/forgotten", before_request=limit_by_address, status_code=200)
    async def send(self, request: HttpRequest, services: Composition) -> Response[str]:
        """Mail a link; the answer, and the time it takes, are the same whether or not anybody has the email."""
        require_own_form(request, session_of(request))
        server = services.part(Settings).mail_server()
        if server is None:
            raise NotFound("This deployment sends no mail")
        page = public_form(request, services, "forgotten.html", by_mail=True, sent=True)
        database = services.part(Database).in_background()
        page.background = BackgroundTask(
            _mail, database, server, services.part(Settings), form_of(request).get("email", "")
        )
        return page

    @get("/password/{token:str}")
    async def form(self, token: str, request: HttpRequest, services: Composition) -> Response[str]:
        """The form for a new password. Opening it uses nothing up: mail programs open links too."""
        async with services.part(Database).transaction(SYSTEM, read_only=True) as rows:
            user = await linked_person(rows, token, services.part(Database).clock.now())
        return public_form(
            request, services, "set_password.html", email=user.email or "", is_first=not user.password_hash
        )

    @post("/password/{token:str}", before_request=limit_by_address)
    async def set(self, token: str, request: HttpRequest, services: Composition) -> Response[str]:
        """Set the password; every session ends, and the link with them."""
        require_own_form(request, session_of(request))
        try:
            await redeem_link(services.part(Database), token, form_of(request).get("password", ""))
        except NotFound:
            raise
        except FarthingError as error:
            return public_form(request, services, "set_password.html", error=error, email="", is_first=False)
        return go("/sign-in?set=yes")


async def _mail(database: Database, server: MailServer, settings: Settings, email: str) -> None:
    try:
        user_id = await request_password_mail(database, email)
    except (SQLAlchemyError, OSError) as error:
        log.warning("password_mail.failed", error=type(error).__name__)
        return
    if user_id is not None:
        await send_link(database, server, settings, user_id)


async def send_link(database: Database, server: MailServer, settings: Settings, user_id: str) -> None:
    """Send a person the link that is queued for them, behind the answer; where that fails, a duty does."""
    try:
        from farthing.notifications.email.delivery.smtp import MailSender

        async with MailSender(server) as sender:
            await send_password_mails(database, sender, settings, user_id)
    except (SQLAlchemyError, OSError) as error:
        log.warning("password_mail.failed", error=type(error).__name__)
