"""Mails: what each tells, to whom, and how far it is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, OfTenant, Scoped, enum_column


class EmailKind(StrEnum):
    """What a mail tells; the names are those of the switches in `email_config`."""

    INVOICE_ISSUED = "invoice_issued"
    PAYMENT_RECEIPT = "payment_receipt"
    PAYMENT_FAILED = "payment_failed"
    REMINDER = "reminder"
    CREDIT_NOTE = "credit_note"
    LOW_BALANCE = "low_balance"
    CREDITS_EXPIRING = "credits_expiring"
    TRIAL_ENDING = "trial_ending"
    RENEWAL_NOTICE = "renewal_notice"
    SPEND_ALERT = "spend_alert"


class EmailState(StrEnum):
    """How far a mail is."""

    QUEUED = "queued"
    """It waits for its first attempt, or for the next."""
    SENT = "sent"
    FAILED = "failed"
    """It is not sent: it is true no more, or nobody can be written to."""
    PARKED = "parked"
    """The server refused it, or no attempt succeeded; it can be sent again."""


class Email(Scoped, Base):
    """One mail to one customer. Its id is derived from what it tells, and its Message-ID from the id."""

    __tablename__ = "emails"
    label = "E-mail"

    kind: Mapped[EmailKind] = mapped_column(enum_column(EmailKind))
    entity_id: Mapped[str] = mapped_column(String(50))
    occasion: Mapped[str] = mapped_column(String(100))
    """Which of the times that something of this kind happens to the entity."""
    customer_id: Mapped[str] = mapped_column(String(50))
    invoice_id: Mapped[str | None] = mapped_column(String(50))
    details: Mapped[dict[str, Any]]
    """What the entity itself does not say, such as when credits expire."""
    state: Mapped[EmailState] = mapped_column(enum_column(EmailState), default=EmailState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    """Attempts that failed since it was queued, or queued again."""
    queued_at: Mapped[datetime]
    """When it was queued, or queued again, in real time; `created_at` is in the environment's."""
    next_attempt_at: Mapped[datetime]
    """When it is due. While an attempt is under way, when that is given up."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it is not sent, as far as it is known, or what it was sent without."""
    recipient: Mapped[str | None] = mapped_column(String(320))
    """The address it was written to last."""
    subject: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(10))

    __table_args__ = (
        CheckConstraint("(state = 'queued') = (finished_at IS NULL)", name="finished_at_its_end"),
        CheckConstraint("attempts >= 0", name="attempts_counted"),
        # nobody is told one thing twice
        Index("uq_emails_occasion", "environment_id", "kind", "entity_id", "occasion", unique=True),
        # what is due, longest first
        Index("ix_emails_due", "environment_id", "next_attempt_at", postgresql_where=text("state = 'queued'")),
        # how many are parked
        Index("ix_emails_parked", "environment_id", postgresql_where=text("state = 'parked'")),
        # the mails of an environment, of a customer, and about an invoice, newest first
        Index("ix_emails_newest", "environment_id", "created_at", "id"),
        Index("ix_emails_customer", "environment_id", "customer_id", "created_at", "id"),
        Index(
            "ix_emails_invoice",
            "environment_id",
            "invoice_id",
            "created_at",
            postgresql_where=text("invoice_id IS NOT NULL"),
        ),
    )


class PasswordMail(OfTenant, Base):
    """A link to set a password that is to be mailed to a person. It is made when it is sent, and not kept here."""

    __tablename__ = "password_mails"
    label = "Password mail"

    user_id: Mapped[str] = mapped_column(String(50))
    requested_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]

    __table_args__ = (
        # whoever asks ten times gets one mail
        Index("uq_password_mails_user", "user_id", unique=True),
    )
