"""A letter as a message of the internet: headers that nobody else can write, HTML and text, the logo, the document."""

from __future__ import annotations

import re
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
_UNFOLDED = 55
"""As long as a name and an address together are no longer, they stand in one line of a header."""
_STRUCTURE = re.compile(r'[()<>\[\]:;@\\,"]')
"""What parts names and addresses from each other in a header, unless it stands in quotes."""
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
    message["Subject"] = _literal(letter.subject)
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
        message.add_attachment(file.content, maintype="application", subtype=file.subtype, filename=_literal(file.name))
    return OutgoingMessage(envelope.sender, (envelope.recipient, *envelope.copies), message.as_bytes())


def _literal(text: str) -> str:
    """`text` for a header, in which nothing stands for other letters.

    The library decodes what looks like an encoded word (RFC 2047) before it writes it, so that a name could hold the
    end of a line, and after it headers and a body of its author's.
    """
    return text.replace("=?", "= ?")


def _address(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    shown = _literal(one_line(name, LONGEST_NAME))
    if not shown.isascii() or len(shown) + 2 * len(_STRUCTURE.findall(shown)) + len(address) > _UNFOLDED:
        # the library leaves the quotes out where it folds or encodes a name, and parts of it would be addresses
        shown = " ".join(_STRUCTURE.sub(" ", shown).split())
    return Address(shown, username=local, domain=domain)


def _add_logo(message: EmailMessage, logo: Logo) -> None:
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage), "the letter has HTML"
    subtype = "png" if logo.format == "png" else "jpeg"
    html.add_related(logo.content, maintype="image", subtype=subtype, cid=f"<{LOGO_ID}>", disposition="inline")
