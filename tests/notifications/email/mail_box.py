"""A real SMTP server that keeps what it is handed and answers as it is told to, well or badly."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "farthing", "s3cret@/:"


@dataclass(frozen=True)
class Received:
    """One message as it was handed in."""

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def body(self, kind: str = "plain") -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content())

    def attachment(self) -> tuple[str, bytes]:
        (part,) = list(self.message.iter_attachments())
        return part.get_filename() or "", part.get_payload(decode=True)  # type: ignore[return-value]


@dataclass
class MailBox:
    """What was received; `answers` are given to the next messages, `rcpt_answers` to addresses; else all is taken."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    rcpt_answers: dict[str, str] = field(default_factory=dict)
    on_data: Callable[[Received], Awaitable[None]] | None = None
    logins: list[bytes] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 (the library's name)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.rcpt_answers:
            return self.rcpt_answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        received = Received(envelope.mail_from or "", list(envelope.rcpt_tos), content)
        if self.answers and not (answer := self.answers.pop(0)).startswith("250"):
            return answer
        self.received.append(received)
        if self.on_data is not None:
            await self.on_data(received)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        # what it does not handle, the server answers with 535
        return AuthResult(success=data.password == PASSWORD.encode() and data.login == USER.encode(), handled=False)

    def to(self, address: str) -> list[Received]:
        return [received for received in self.received if address in received.recipients]


@asynccontextmanager
async def mail_box(
    *, certificate: Certificate | None = None, starttls: bool = False, auth: bool = False
) -> AsyncIterator[MailBox]:
    """A server on a port of its own: in clear, or with a certificate from the start or by STARTTLS."""
    box = MailBox()
    context = certificate.server_context() if certificate is not None else None

    def protocol() -> SMTP:
        return SMTP(
            box,
            hostname="mail.example.com",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=box.authenticate if auth else None,
            auth_required=auth,
            auth_require_tls=False,
            enable_SMTPUTF8=False,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=None if starttls else context)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()


@dataclass(frozen=True)
class Certificate:
    """A certificate of this machine, signed by itself."""

    file: Path

    @classmethod
    def create(cls, folder: Path, address: str = "127.0.0.1") -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = folder / f"certificate-{address}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return cls(file)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context
