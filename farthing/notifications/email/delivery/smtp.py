"""Handing messages in at the mail server, over a few connections that are kept while there is work.

Loads the library for mail servers: whoever sends imports this where it sends.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType

import aiosmtplib
from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from farthing.mail_server import MailSecurity, MailServer
from farthing.notifications.email.delivery.handing_in import Handed, HandingIn
from farthing.notifications.email.delivery.message import OutgoingMessage

CONNECT_SECONDS = 15.0
"""How long connecting may take, with TLS and signing in."""
TOTAL_SECONDS = 60.0
LONGEST_REASON = 500


class MailSender:
    """Connections to the mail server. Used as a context, in one event loop."""

    def __init__(
        self, server: MailServer, *, connect_seconds: float = CONNECT_SECONDS, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self.server = server
        self._connect_seconds = connect_seconds
        self._total_seconds = total_seconds
        self._idle: list[SMTP] = []
        self.is_away = False
        """Whether the server could not be reached; then nothing more is tried with this sender."""

    async def __aenter__(self) -> MailSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            client = self._idle.pop()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.quit()
            except (SMTPException, OSError, TimeoutError):
                client.close()

    async def hand_in(self, message: OutgoingMessage) -> HandingIn:
        """Hand a message in once. Whatever happens is an outcome and no exception."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                client = await self._client()
        except TimeoutError:
            self.is_away = True
            return HandingIn(Handed.AWAY, f"no connection to the mail server within {self._connect_seconds:g} seconds")
        except (SMTPException, OSError, ValueError) as error:
            self.is_away = True
            return HandingIn(Handed.AWAY, f"no connection to the mail server: {_in_words(error)}")
        try:
            async with asyncio.timeout(self._total_seconds):
                await _converse(client, message)
        except TimeoutError:
            client.close()
            return HandingIn(Handed.DEFERRED, f"the mail server did not answer within {self._total_seconds:g} seconds")
        except SMTPResponseException as error:
            await self._keep(client)
            outcome = Handed.REFUSED if error.code >= 500 else Handed.DEFERRED
            return HandingIn(outcome, f"the mail server answered {_in_words(error)}")
        except (SMTPException, OSError) as error:
            client.close()
            return HandingIn(Handed.DEFERRED, f"the connection to the mail server failed: {_in_words(error)}")
        except BaseException:
            client.close()
            raise
        self._idle.append(client)
        return HandingIn(Handed.TAKEN)

    async def _client(self) -> SMTP:
        """A connection that was kept and still is one, else a new one."""
        while self._idle:
            client = self._idle.pop()
            if await _is_alive(client):
                return client
        return await self._connected()

    async def _connected(self) -> SMTP:
        server = self.server
        context = None if server.security is MailSecurity.NONE else ssl.create_default_context()
        client = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security is MailSecurity.TLS,
            start_tls=server.security is MailSecurity.STARTTLS,
            tls_context=context,
            username=server.username or None,
            password=server.password or None,
            timeout=self._connect_seconds,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
        except BaseException:
            client.close()
            raise
        client.timeout = self._total_seconds
        return client

    async def _keep(self, client: SMTP) -> None:
        """Keep a connection on which a message was refused, if the server lets it go on."""
        try:
            await client.rset()
        except (SMTPException, OSError):
            client.close()
        else:
            self._idle.append(client)


async def _is_alive(client: SMTP) -> bool:
    """Whether a connection that was kept still is one; servers close those that are idle or have sent enough."""
    try:
        await client.rset()
    except (SMTPException, OSError):
        client.close()
        return False
    return True


async def _converse(client: SMTP, message: OutgoingMessage) -> None:
    """The first recipient decides; a copy that is refused keeps nobody from the mail."""
    recipient, *copies = message.recipients
    await client.mail(message.sender, encoding="ascii")
    await client.rcpt(recipient, encoding="ascii")
    for address in copies:
        try:
            await client.rcpt(address, encoding="ascii")
        except SMTPResponseException:
            continue
    await client.data(message.content)


def _in_words(error: Exception) -> str:
    """An error as it may be shown: what the server said, on one line, and nothing of our own credentials."""
    if isinstance(error, SMTPResponseException):
        said = f"{error.code} {error.message}"
    elif isinstance(error, (aiosmtplib.SMTPConnectTimeoutError, aiosmtplib.SMTPTimeoutError)):
        said = "it did not answer in time"
    elif isinstance(error, ssl.SSLCertVerificationError) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
        said = "its certificate is not valid for this host"
    else:
        said = str(error)
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    return line[:LONGEST_REASON]
