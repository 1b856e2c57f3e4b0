"""Tables of signing in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, OfTenant, enum_column


class SessionKind(StrEnum):
    """What a session is held with: a browser's cookie, or a bearer token of the API."""

    DASHBOARD = "dashboard"
    API = "api"


class SignInSession(OfTenant, Base):
    """A person who signed in somewhere."""

    __tablename__ = "sign_in_sessions"
    label = "Session"

    user_id: Mapped[str] = mapped_column(String(50))
    kind: Mapped[SessionKind] = mapped_column(enum_column(SessionKind))
    token_hash: Mapped[str] = mapped_column(String(64))
    password_stamp: Mapped[str] = mapped_column(String(64))
    """A hash of the stored password hash at that time; another password ends the session."""
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(300), default="")

    __table_args__ = (
        # every request of a person looks its session up
        Index("uq_sign_in_sessions_token", "token_hash", unique=True),
        Index("ix_sign_in_sessions_user", "tenant_id", "user_id", "last_seen_at"),
    )


class SignInAttempts(Base):
    """Failed attempts on one account, by a hash of what was tried: emails that nobody has are counted alike."""

    __tablename__ = "sign_in_attempts"
    label = "Sign-in attempts"

    failures: Mapped[int]
    last_at: Mapped[datetime]
    blocked_until: Mapped[datetime]

    __table_args__ = (Index("ix_sign_in_attempts_last_at", "last_at"),)


class LinkWay(StrEnum):
    """How a link to set a password gets to the person: mailed to whoever asks, or handed out by somebody in charge."""

    MAILED = "mailed"
    HANDED = "handed"


class PasswordLink(OfTenant, Base):
    """A link with which a person sets a password, once. Its row is deleted when it is used or replaced."""

    __tablename__ = "password_links"
    label = "Password link"

    user_id: Mapped[str] = mapped_column(String(50))
    way: Mapped[LinkWay] = mapped_column(enum_column(LinkWay))
    token_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(50), default="")
    expires_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_password_links_token", "token_hash", unique=True),
        # a new link replaces the one before that went the same way: what strangers have mailed voids no invitation
        Index("uq_password_links_user_way", "user_id", "way", unique=True),
    )


class SecondFactor(OfTenant, Base):
    """A person's authenticator app. It counts once `confirmed_at` is set."""

    __tablename__ = "second_factors"
    label = "Second factor"

    user_id: Mapped[str] = mapped_column(String(50))
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(String(16))
    """Which master key sealed it."""
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(default=0)
    """The time step of the last code accepted; that code and older ones are refused."""
    recovery_hashes: Mapped[list[str]] = mapped_column(default=list)

    __table_args__ = (Index("uq_second_factors_user", "user_id", unique=True),)
