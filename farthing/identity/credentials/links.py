"""Addresses that open one thing for a while to whoever has them: the token in them is the credential.

A token says whose books the thing is in, which it is and until when. What it is for has a signing key of its own, so
that no token opens anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller
from farthing.core.enums import Status
from farthing.core.errors import PermissionDenied
from farthing.core.origin import VISITOR
from farthing.identity.credentials.keys import derived_key
from farthing.identity.credentials.master_key import signed_claims
from farthing.identity.tables import Environment
from farthing.storage.scope import Scope

ENDED = "This link is not valid any more"
_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class LinkPurpose:
    """What links of a kind open, which is also what their signing key is derived for, and for how long."""

    name: str
    life: timedelta


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """What a link opens, and when it was made, to the second."""

    scope: Scope
    subject_id: str
    made_at: datetime


def link_token(purpose: LinkPurpose, scope: Scope, subject_id: str, master_key: str, now: datetime) -> str:
    """The token of a link to `subject_id` in the books of `scope`. `now` is real time."""
    claims = {
        "typ": purpose.name,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "id": subject_id,
        "exp": int((now + purpose.life).timestamp()),
    }
    return jwt.encode(claims, derived_key(master_key, purpose.name), _ALGORITHM)


def open_link(purpose: LinkPurpose, token: str, master_keys: Sequence[str], now: datetime) -> OpenedLink:
    """What a link's token opens. Raises PermissionDenied for one that is forged or out of date."""
    try:
        claims = signed_claims(
            token,
            master_keys,
            purpose.name,
            algorithms=[_ALGORITHM],
            options={"require": ["exp", "id"], "verify_exp": False},  # time is the caller's to tell
        )
    except jwt.InvalidTokenError as error:
        raise PermissionDenied("This link is not valid") from error
    if claims.get("typ") != purpose.name or claims["exp"] <= now.timestamp():
        raise PermissionDenied(ENDED)
    made_at = datetime.fromtimestamp(claims["exp"], UTC) - purpose.life
    return OpenedLink(Scope(claims["tenant_id"], claims["environment_id"]), claims["id"], made_at)


def reader_of(link: OpenedLink) -> Caller:
    """Whoever has the link, who reads."""
    return Caller(link.scope.tenant_id, link.scope.environment_id, user_id="", credential_id="", actor=VISITOR)


async def require_open(session: AsyncSession, link: OpenedLink) -> None:
    """Refuse a link whose environment has ended. Raises PermissionDenied."""
    environment = await session.get(Environment, link.scope.environment_id)
    if environment is None or environment.status is not Status.PUBLISHED:
        raise PermissionDenied(ENDED)
