"""A letter as a message of the internet: headers that nobody else can write, HTML and text, the logo, the document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from farthing.identity.settings.logo import Logo
from farthing.notifications.email.content.documents import MailAttachment
from farthing.notifications.email.content.letter import LOGO_ID, Letter, one_line

LONGEST_NAME = 100
_POLICY = policy.SMTP.clone(cte_type="7bit", max_line_length=78)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """From whom a message comes and to whom it goes. All addresses are ones that every server takes."""

    sender: str
    sender_name: str
    recipient: str
    recipient_name: str
    reply_to: str = ""
    copies: tuple[str, ...] = ()
    """Addresses that get it unseen by the recipient."""
    meant_for: str = ""
    """The recipient it would have had, where all mail of an environment goes to one address."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """What is handed in: the envelope's addresses and the bytes."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


def build_message(
    letter: Letter,
    envelope: Envelope,
    *,
    message_id: str,
    language: str,
    sent_at: datetime,
    logo: Logo | None = None,
    attachments: tuple[MailAttachment, ...] = (),
) -> OutgoingMessage:
    """The message of a letter. Its Message-ID is `message_id` at the sender's domain."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = _address(envelope.sender_name, envelope.sender)
    message["To"] = _address(envelope.recipient_name, envelope.recipient)
    if envelope.reply_to:
        message["Reply-To"] = _address("", envelope.reply_to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(sent_at)
    message["Message-ID"] = f"<{message_id}@{envelope.sender.rpartition('@')[2]}>"
    message["Content-Language"] = language
    message["Auto-Submitted"] = "auto-generated"
    if envelope.meant_for:
        message["X-Farthing-Meant-For"] = envelope.meant_for
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    if logo is not None:
        _add_logo(message, logo)
    for file in attachments:
        message.add_attachment(file.content, maintype="application", subtype=file.subtype, filename=file.name)
    return OutgoingMessage(envelope.sender, (envelope.recipient, *envelope.copies), message.as_bytes())


def _address(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(one_line(name, LONGEST_NAME), username=local, domain=domain)


def _add_logo(message: EmailMessage, logo: Logo) -> None:
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage), "the letter has HTML"
    subtype = "png" if logo.format == "png" else "jpeg"
    html.add_related(logo.content, maintype="image", subtype=subtype, cid=f"<{LOGO_ID}>", disposition="inline")
