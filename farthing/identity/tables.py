"""Tables of identity. All belong to a tenant; none to an environment, for signing in comes before entering one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, OfTenant, Tracked, enum_column


class InternalStatus(StrEnum):
    """Where a tenant stands with the operator, who alone changes it."""

    TRIALING = "trialing"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class EnvironmentType(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class UserType(StrEnum):
    USER = "user"
    SERVICE_ACCOUNT = "service_account"


class SecretType(StrEnum):
    PRIVATE_KEY = "private_key"
    PUBLISHABLE_KEY = "publishable_key"


class Tenant(Tracked, Base):
    """A company that bills with Farthing."""

    __tablename__ = "tenants"
    label = "Tenant"
    audit = Audited("tenant")

    name: Mapped[str] = mapped_column(String(255))
    internal_status: Mapped[InternalStatus] = mapped_column(
        enum_column(InternalStatus), default=InternalStatus.TRIALING
    )
    billing_details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)


class Environment(OfTenant, Tracked, Base):
    """A separate set of books of one tenant."""

    __tablename__ = "environments"
    label = "Environment"
    audit = Audited("environment", bookkeeping=frozenset({"frozen_time"}))

    name: Mapped[str] = mapped_column(String(50))
    type: Mapped[EnvironmentType] = mapped_column(enum_column(EnvironmentType))
    frozen_time: Mapped[datetime | None]
    """The test clock, while it stands still."""

    __table_args__ = (Index("ix_environments_tenant", "tenant_id"),)


class User(OfTenant, Tracked, Base):
    """A person, or a service account that only keys act for."""

    __tablename__ = "users"
    label = "User"
    audit = Audited("user", named_by=("email", "name"), secret=frozenset({"password_hash"}))

    name: Mapped[str] = mapped_column(String(255), default="")
    email: Mapped[str | None] = mapped_column(String(320))
    type: Mapped[UserType] = mapped_column(enum_column(UserType), default=UserType.USER)
    roles: Mapped[list[str]] = mapped_column(default=list)
    password_hash: Mapped[str | None] = mapped_column(Text)
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # an email signs in one published person of the whole deployment
        Index("uq_users_email", "email", unique=True, postgresql_where=text("status = 'published'")),
        Index("ix_users_tenant", "tenant_id"),
    )


class Secret(OfTenant, Tracked, Base):
    """An API key, bound to one environment, with the roles its owner had when it was made."""

    __tablename__ = "secrets"
    label = "Secret"
    audit = Audited(
        "api_key",
        secret=frozenset({"hash"}),
        bookkeeping=frozenset({"hash", "last_used_at"}),
        verbs=(("archived", "revoked"),),
    )

    name: Mapped[str] = mapped_column(String(255))
    type: Mapped[SecretType] = mapped_column(enum_column(SecretType))
    environment_id: Mapped[str] = mapped_column(String(50))
    hash: Mapped[str] = mapped_column(String(64))
    display_id: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[str] = mapped_column(String(50))
    user_type: Mapped[UserType] = mapped_column(enum_column(UserType))
    roles: Mapped[list[str]] = mapped_column(default=list)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (
        # authentication looks a key up by its hash
        Index("uq_secrets_hash", "hash", unique=True),
        Index("ix_secrets_owner", "tenant_id", "user_id"),
    )


class Setting(OfTenant, Tracked, Base):
    """Stored values of one settings key, of a tenant (no environment) or of one environment."""

    __tablename__ = "settings"
    label = "Setting"
    audit = Audited(
        "setting",
        named_by=("key",),
        verbs=(
            ("created", "updated"),
            ("archived", "reset"),
        ),
        action_prefix="settings",
    )

    environment_id: Mapped[str] = mapped_column(String(50), default="")
    key: Mapped[str] = mapped_column(String(100))
    value: Mapped[dict[str, Any]]

    __table_args__ = (
        Index(
            "uq_settings_key",
            "tenant_id",
            "environment_id",
            "key",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
    )
