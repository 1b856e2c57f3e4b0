"""The mail server of a deployment: read from its URL, and refused in one line where it cannot be meant.

Rule: docs/rules/email.md#the-mail-server
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from farthing.core.standards.email_address import deliverable_address


class MailSecurity(Enum):
    """How the connection is secured."""

    NONE = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


_DEFAULT_PORTS = {MailSecurity.NONE: 25, MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465}
_EXAMPLE = "smtp+starttls://user:password@mail.example.com:587"


class UnusableMailServer(ValueError):
    """The settings of mail cannot be used; the message says which one, and what would be right. It holds no secret."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where messages are handed in, and under which address they are sent."""

    host: str
    port: int
    security: MailSecurity
    sender: str
    username: str = ""
    password: str = field(default="", repr=False)


def mail_server(url: str | None, sender: str | None, test_recipient: str | None) -> MailServer | None:
    """The server of these settings, checked together; None in a deployment without mail. Raises UnusableMailServer."""
    for name, address in (("FARTHING_MAIL_FROM", sender), ("FARTHING_MAIL_TEST_TO", test_recipient)):
        if address is not None and deliverable_address(address) is None:
            raise UnusableMailServer(f"{name} must be an email address such as billing@example.com")
    if url is None:
        if sender is not None:
            raise UnusableMailServer("FARTHING_MAIL_FROM needs FARTHING_SMTP_URL, the server that takes the mail")
        return None
    if sender is None:
        raise UnusableMailServer("FARTHING_SMTP_URL needs FARTHING_MAIL_FROM, the address that mail is sent from")
    return _of_url(url, sender)


def _of_url(url: str, sender: str) -> MailServer:
    parts, port = _split(url)
    try:
        security = MailSecurity(parts.scheme)
    except ValueError as error:
        raise UnusableMailServer(
            f"FARTHING_SMTP_URL must begin with smtp, smtps or smtp+starttls: {_EXAMPLE}"
        ) from error
    host = parts.hostname or ""
    if not host or any(not letter.isprintable() or letter.isspace() for letter in host) or port == 0:
        raise UnusableMailServer(f"FARTHING_SMTP_URL must name a host and a port from 1 to 65535: {_EXAMPLE}")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UnusableMailServer(
            "FARTHING_SMTP_URL must end with the host or the port; "
            "write characters such as @, :, /, # and ? of a password as %40, %3A, %2F, %23 and %3F"
        )
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(username) != bool(password):
        raise UnusableMailServer("FARTHING_SMTP_URL must give both a user and a password, or neither")
    if not all(letter.isprintable() for letter in username + password):
        raise UnusableMailServer("FARTHING_SMTP_URL must not have control characters in its user or password")
    if username and security is MailSecurity.NONE and not _is_this_machine(host):
        raise UnusableMailServer(
            "FARTHING_SMTP_URL would send its password in clear: use smtps:// or smtp+starttls:// with credentials"
        )
    return MailServer(host, port or _DEFAULT_PORTS[security], security, sender, username, password)


def _split(url: str) -> tuple[SplitResult, int | None]:
    if any(not letter.isprintable() or letter.isspace() for letter in url):
        raise UnusableMailServer(f"FARTHING_SMTP_URL must not contain blanks or control characters: {_EXAMPLE}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnusableMailServer(
            f"FARTHING_SMTP_URL must look like {_EXAMPLE}; "
            "write characters such as @, : and / of a password as %40, %3A and %2F"
        ) from error
    return parts, port


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
