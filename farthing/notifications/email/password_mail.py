"""A link to set a password, mailed to the person's own address: to whoever forgot theirs, or has none yet.

The link is made at the moment it is sent, so that it stands in no table and no queue. It is sent at once by the process
that was asked, and by a duty if that fails.

Rule: docs/rules/email.md#forgotten-passwords
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.core.standards.email_address import deliverable_address
from farthing.identity.sign_in.email_and_password import person_with_email
from farthing.identity.sign_in.password_change import HANDED_LINK_LIFE, MAILED_LINK_LIFE, ResetLink, make_link
from farthing.identity.sign_in.tables import LinkWay, PasswordLink
from farthing.identity.tables import Tenant, User
from farthing.notifications.email.content.letter import Letterhead, compose_account_letter
from farthing.notifications.email.delivery.handing_in import Handed
from farthing.notifications.email.delivery.message import Envelope, OutgoingMessage, build_message
from farthing.notifications.email.delivery.schedule import next_attempt
from farthing.notifications.email.tables import PasswordMail
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

if TYPE_CHECKING:  # the library for mail servers is loaded by whoever sends
    from farthing.notifications.email.delivery.smtp import MailSender

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=2)
BATCH = 10
PAUSE = timedelta(minutes=1)
"""Whoever was sent a link is sent no other for so long."""
LONGEST_WAIT = timedelta(hours=1)
"""A request that could not be met for so long has been given up by whoever made it."""


async def request_password_mail(database: Database, email: str) -> str | None:
    """Have a link mailed to the person with this address; the person's id, or None where nothing is to be sent."""
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        user = await person_with_email(session, email)
        if user is None:
            return None
        was_just_sent = exists().where(
            PasswordLink.user_id == user.id,
            PasswordLink.way == LinkWay.MAILED,
            PasswordLink.created_at > now - PAUSE,
        )
        if await session.scalar(select(was_just_sent)):
            return None
        await queue_password_mail(session, user, now)
        return user.id


async def queue_password_mail(session: AsyncSession, user: User, now: datetime) -> None:
    """Have a link mailed to a person, in this transaction; one mail, however often it is asked for."""
    insertion = insert(PasswordMail).values(
        id=new_id(Kind.EMAIL),
        tenant_id=user.tenant_id,
        user_id=user.id,
        requested_at=now,
        attempts=0,
        next_attempt_at=now,
    )
    await session.execute(insertion.on_conflict_do_nothing(index_elements=["user_id"]))


async def send_password_mails(
    database: Database, sender: MailSender, settings: Settings, user_id: str | None = None
) -> int:
    """Send the links that are due, or that of one person; how many were in hand."""
    now = database.clock.now()
    due = select(PasswordMail.id).where(PasswordMail.next_attempt_at <= now)
    if user_id is not None:
        due = due.where(PasswordMail.user_id == user_id)
    due = due.order_by(PasswordMail.next_attempt_at).limit(BATCH).with_for_update(skip_locked=True)
    async with database.transaction(SYSTEM) as session:
        taken = await session.scalars(
            update(PasswordMail)
            .where(PasswordMail.id.in_(due.scalar_subquery()))
            .values(next_attempt_at=now + LEASE)
            .returning(PasswordMail)
            .execution_options(synchronize_session=False)
        )
        mails = list(taken)
    for mail in mails:
        await _send(database, sender, settings, mail)
    return len(mails)


async def _send(database: Database, sender: MailSender, settings: Settings, mail: PasswordMail) -> None:
    now = database.clock.now()
    message: OutgoingMessage | None = None
    async with database.transaction(SYSTEM) as session:
        user = await session.get(User, mail.user_id)
        recipient = deliverable_address(user.email or "") if user is not None else None
        if user is None or recipient is None:
            log.warning("password_mail.not_sent", user_id=mail.user_id, reason="no address that mail goes to")
        elif user.status is Status.PUBLISHED and now - mail.requested_at <= LONGEST_WAIT:
            if user.password_hash:
                link = await make_link(session, user, settings.base_url, MAILED_LINK_LIFE, now, way=LinkWay.MAILED)
                message = _message(sender, settings, recipient, link, now, **_FORGOTTEN)
            else:
                link = await make_link(session, user, settings.base_url, HANDED_LINK_LIFE, now, way=LinkWay.MAILED)
                company = (await session.get_one(Tenant, user.tenant_id)).name
                message = _message(sender, settings, recipient, link, now, **_invitation(company))
    if message is None:
        await _finish(database, mail)
        return
    handed = await sender.hand_in(message)
    again = next_attempt(mail.attempts + 1, now)
    if handed.outcome is Handed.TAKEN or handed.outcome is Handed.REFUSED or again is None:
        if handed.outcome is not Handed.TAKEN:
            log.warning("password_mail.not_sent", user_id=mail.user_id, reason=handed.reason)
        await _finish(database, mail)
        return
    await _postpone(database, mail, again)


_FORGOTTEN = MappingProxyType(
    {
        "heading": "Set a new password",
        "body": (
            "Somebody, probably you, asked for a new password for this address. The button below leads to a page where "
            "you can set it. The link works once, within an hour. If it was not you, please disregard this message: "
            "your password stays as it is."
        ),
        "button": "Set a new password",
    }
)


def _invitation(company: str) -> dict[str, str]:
    """What is said to somebody who never had a password."""
    return {
        "heading": f"You are invited to {company}",
        "body": (
            f"You can sign in to the billing of {company} with this address. The button below leads to a page where "
            "you choose your password. The link works once, within a day; after that, ask for another one where you "
            "sign in."
        ),
        "button": "Choose a password",
    }


def _message(
    sender: MailSender,
    settings: Settings,
    recipient: str,
    link: ResetLink,
    now: datetime,
    *,
    heading: str,
    body: str,
    button: str,
) -> OutgoingMessage:
    name = settings.default_tenant_name
    letter = compose_account_letter(
        Letterhead(seller=name),
        heading=heading,
        body=body,
        button=button,
        link=link.url,
        reason=f"You receive this message because you have an account at {settings.base_url}.",
    )
    envelope = Envelope(sender=sender.server.sender, sender_name=name, recipient=recipient, recipient_name="")
    # each link is a mail of its own: a repeat holds another one, and must not be taken for the same
    return build_message(letter, envelope, message_id=new_id(Kind.EMAIL), language="en", sent_at=now)


async def _finish(database: Database, mail: PasswordMail) -> None:
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(PasswordMail).where(PasswordMail.id == mail.id))


async def _postpone(database: Database, mail: PasswordMail, again: datetime) -> None:
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            update(PasswordMail)
            .where(PasswordMail.id == mail.id, PasswordMail.next_attempt_at == mail.next_attempt_at)
            .values(attempts=mail.attempts + 1, next_attempt_at=again)
            .execution_options(synchronize_session=False)
        )
