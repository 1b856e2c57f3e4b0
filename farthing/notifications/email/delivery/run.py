"""One batch of mails: taken on a lease, written, handed in, recorded.

Rule: docs/rules/email.md#delivery
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotFound
from farthing.core.standards.email_address import deliverable_address
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.identity.tables import Tenant
from farthing.notifications.email.content.facts import NotToSend, content_of
from farthing.notifications.email.content.letter import compose
from farthing.notifications.email.delivery.handing_in import Handed, HandingIn
from farthing.notifications.email.delivery.message import Envelope, OutgoingMessage, build_message
from farthing.notifications.email.delivery.schedule import next_attempt
from farthing.notifications.email.letterhead import letterhead_of
from farthing.notifications.email.links import portal_link
from farthing.notifications.email.recipients import NO_ADDRESS, NOT_FROM_DEVELOPMENT, address_of, is_development
from farthing.notifications.email.tables import Email, EmailState
from farthing.settings import Settings
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.rows import find

if TYPE_CHECKING:  # the library for mail servers is loaded by whoever sends
    from farthing.notifications.email.delivery.smtp import MailSender

log = structlog.get_logger(__name__)

AT_ONCE = 4
LEASE = timedelta(minutes=5)
"""More than it takes to write a batch and hand it in."""
LONGEST_WAIT = timedelta(days=3)
"""A mail that could not even be tried for so long is old news."""


@dataclass(frozen=True, slots=True)
class WrittenEmail:
    """A mail that is ready to be handed in."""

    message: OutgoingMessage
    recipient: str
    subject: str
    language: str
    remark: str | None
    """What it goes without."""


@dataclass(frozen=True, slots=True)
class EmailProblem:
    """Why a mail is not handed in; `is_final` where it never will be."""

    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class MailDelivery:
    """Hands in what is due, environment by environment, with one sender and the settings of the process."""

    sender: MailSender
    settings: Settings

    async def deliver(self, session: AsyncSession, now: datetime) -> int:
        """Hand in a batch of the session's environment; how many mails it had in hand, 0 when none is due.

        `now` is the environment's time, in which mails are true or not. Commits before anything is handed in.
        """
        if self.sender.is_away:
            return 0
        emails = await _take(session, real_clock_of(session).now())
        await commit_midway(session)
        written = [await self._write(session, email, now) for email in emails]
        await commit_midway(session)  # no transaction is open while the server is talked to
        outcomes = await asyncio.gather(*(self._hand_in(result) for result in written))
        for email, result, outcome in zip(emails, written, outcomes, strict=True):
            await _record(session, email, result, outcome)
        return len(emails)

    async def _hand_in(self, written: WrittenEmail | EmailProblem) -> HandingIn | EmailProblem:
        return written if isinstance(written, EmailProblem) else await self.sender.hand_in(written.message)

    async def _write(self, session: AsyncSession, email: Email, now: datetime) -> WrittenEmail | EmailProblem:
        try:
            async with session.begin_nested():
                return await self._written(session, email, now)
        except NotToSend as error:
            return EmailProblem(str(error), is_final=True)
        except NotFound:
            return EmailProblem("what it tells of was deleted meanwhile", is_final=True)
        except Exception:  # one mail that cannot be written must not keep the others
            log.exception("email.not_written", email_id=email.id)
            return EmailProblem("it could not be written; the log says why", is_final=False)

    async def _written(self, session: AsyncSession, email: Email, now: datetime) -> WrittenEmail:
        config = await read(session, EmailConfig)
        real_now = real_clock_of(session).now()
        if not config.enabled:
            raise NotToSend("mail was switched off meanwhile")
        if real_now - email.queued_at > LONGEST_WAIT:
            raise NotToSend("it has waited for more than three days")
        customer = await session.get_one(Customer, email.customer_id)
        envelope = await self._envelope(session, customer, config)
        content = await content_of(session, email, customer, now)
        letterhead = await letterhead_of(session, config)
        link = portal_link(self.settings, customer, content.invoice_id, real_now)
        language = customer.language or config.language
        letter = compose(content.facts, letterhead, language, link)
        message = build_message(
            letter,
            envelope,
            message_id=email.id,
            language=language,
            sent_at=real_now,
            logo=letterhead.logo,
            attachments=content.documents.attachments,
        )
        return WrittenEmail(
            message=message,
            recipient=envelope.meant_for or envelope.recipient,
            subject=letter.subject,
            language=language,
            remark=content.documents.remark,
        )

    async def _envelope(self, session: AsyncSession, customer: Customer, config: EmailConfig) -> Envelope:
        """From whom to whom. Raises NotToSend where nobody may be written to."""
        recipient = address_of(customer)
        if recipient is None:
            raise NotToSend(NO_ADDRESS)
        sender_name = config.from_name or (await find(session, Tenant, customer.tenant_id)).name
        test_recipient = self.settings.mail_test_to
        copies = tuple(filter(None, [deliverable_address(config.bcc)]))
        meant_for = ""
        if await is_development(session):
            if test_recipient is None:
                raise NotToSend(NOT_FROM_DEVELOPMENT)
            recipient, copies, meant_for = test_recipient, (), recipient
        return Envelope(
            sender=self.sender.server.sender,
            sender_name=sender_name,
            recipient=recipient,
            recipient_name=customer.name,
            reply_to=deliverable_address(config.reply_to) or "",
            copies=copies,
            meant_for=meant_for,
        )


async def _take(session: AsyncSession, now: datetime) -> list[Email]:
    """Take the mails that have been due longest. They are ours, until their lease ends, once that is committed."""
    due = (
        select(Email.id)
        .where(Email.state == EmailState.QUEUED, Email.next_attempt_at <= now)
        .order_by(Email.next_attempt_at, Email.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    taken = await session.scalars(
        update(Email)
        .where(Email.id == due.c.id)
        .values(next_attempt_at=now + LEASE)
        .returning(Email)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return sorted(taken.all(), key=lambda email: (email.created_at, email.id))


async def _record(
    session: AsyncSession, email: Email, written: WrittenEmail | EmailProblem, outcome: HandingIn | EmailProblem
) -> None:
    """Record an attempt, unless its lease has ended and somebody else has the mail now."""
    now = real_clock_of(session).now()
    result = _result_of(email, outcome, now)
    if isinstance(written, WrittenEmail):
        result |= {"recipient": written.recipient, "subject": written.subject, "language": written.language}
        result["reason"] = result["reason"] or written.remark
    await session.execute(
        update(Email)
        .where(Email.id == email.id, Email.state == EmailState.QUEUED, Email.next_attempt_at == email.next_attempt_at)
        .values(**result)
        .execution_options(synchronize_session=False)
    )


def _result_of(email: Email, outcome: HandingIn | EmailProblem, now: datetime) -> dict[str, Any]:
    """What becomes of a mail after an attempt that ended at `now`."""
    if isinstance(outcome, HandingIn) and outcome.outcome is Handed.TAKEN:
        return {"state": EmailState.SENT, "finished_at": now, "reason": None}
    if isinstance(outcome, EmailProblem) and outcome.is_final:
        return {"state": EmailState.FAILED, "finished_at": now, "reason": outcome.reason}
    failures = email.attempts + 1
    again = next_attempt(failures, now)
    if again is None or (isinstance(outcome, HandingIn) and outcome.outcome is Handed.REFUSED):
        return {"state": EmailState.PARKED, "attempts": failures, "finished_at": now, "reason": outcome.reason}
    return {"attempts": failures, "next_attempt_at": again, "reason": outcome.reason}
