"""Changing a password by who knows the old one, and setting one by a link that works once.

Either ends every session opened with the old password, and every link that is still out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import NotFound, PermissionDenied, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials import keys
from farthing.identity.credentials.actors import actor_of_user
from farthing.identity.roles import SUPER_ADMIN
from farthing.identity.sign_in import passwords
from farthing.identity.sign_in.back_off import account_key, begin_attempt, forget_attempts
from farthing.identity.sign_in.sessions import draw_token, end_all_sessions, password_stamp, token_hash
from farthing.identity.sign_in.tables import LinkWay, PasswordLink, SignInSession
from farthing.identity.tables import User, UserType
from farthing.storage.postgres import Database, act_as
from farthing.storage.queries.rows import lock_row
from farthing.storage.scope import SYSTEM

MAILED_LINK_LIFE = timedelta(hours=1)
HANDED_LINK_LIFE = timedelta(hours=24)
NOT_VALID = "This link is not valid any more. Ask for a new one."


@dataclass(frozen=True, slots=True)
class ResetLink:
    """A link that was just made; its address exists nowhere else."""

    email: str
    url: str
    expires_at: datetime


def check_new_password(password: str, field: str = "password") -> None:
    """Refuse what is no password here. Raises ValidationFailed."""
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise ValidationFailed.of(field, f"must have {passwords.SHORTEST} to {passwords.LONGEST} characters")


async def require_password(database: Database, user_id: str, given: str) -> None:
    """Ask again for what a borrowed browser does not know. Whoever calls it is in no transaction yet.

    Raises ValidationFailed without a password, PermissionDenied for a wrong one, TooManyRequests after several.
    """
    if not given:
        raise ValidationFailed.of("password", "is required")
    key = account_key(f"change {user_id}")
    async with passwords.turn(key):
        await _match(database, key, user_id, given, "The password is not right")
    await forget_attempts(database, key)


async def _match(database: Database, key: str, user_id: str, given: str, refusal: str) -> str | None:
    """Count an attempt, and return the stored hash if the password is that person's. Raises PermissionDenied."""
    await begin_attempt(database, key)
    async with database.transaction(SYSTEM, read_only=True) as session:
        stored = (await session.get_one(User, user_id)).password_hash
    if not await passwords.matches(given[: passwords.LONGEST], stored):
        raise PermissionDenied(refusal)
    return stored


async def change_password(database: Database, user_id: str, old: str, new: str, session_id: str) -> None:
    """Give the person a new password if the old one is right; only the session with this id goes on.

    Raises ValidationFailed, PermissionDenied for a wrong old password, TooManyRequests after several.
    """
    check_new_password(new, "new_password")
    key = account_key(f"change {user_id}")
    async with passwords.turn(key):
        stored = await _match(database, key, user_id, old, "The old password is not right")
        password_hash = await passwords.hashed(new)
    async with database.transaction(SYSTEM) as session:
        user = await lock_row(session, User, user_id)
        if user.password_hash != stored:
            raise PermissionDenied("The password was changed meanwhile")
        await set_password(session, user, password_hash, database.clock.now(), keep_session=session_id)
    await forget_attempts(database, key)


async def set_password(
    session: AsyncSession, user: User, password_hash: str, now: datetime, *, keep_session: str = ""
) -> None:
    """Store a password of a locked user; sessions end, except one, and links that are out are void.

    So are those that the user made for others: somebody else may have made them with the password before.
    """
    user.password_hash = password_hash
    await session.flush()
    await end_all_sessions(session, user.id, now, but=keep_session)
    out = or_(PasswordLink.user_id == user.id, PasswordLink.created_by == user.id)
    await session.execute(delete(PasswordLink).where(out))
    if keep_session:
        kept = await session.get_one(SignInSession, keep_session)
        kept.password_stamp = password_stamp(user)
    await session.flush()
    await keys.invalidate(session, user.id)


async def make_link(
    session: AsyncSession,
    user: User,
    base_url: str,
    life: timedelta,
    now: datetime,
    *,
    way: LinkWay = LinkWay.HANDED,
    made_by: str = "",
) -> ResetLink:
    """A link with which `user` sets a password, once; one that went the same way before is void."""
    token = draw_token()
    values = {
        "id": new_id(Kind.PASSWORD_LINK),
        "tenant_id": user.tenant_id,
        "user_id": user.id,
        "way": way,
        "token_hash": token_hash(token),
        "created_at": now,
        "created_by": made_by,
        "expires_at": now + life,
    }
    insertion = insert(PasswordLink).values(**values)
    await session.execute(insertion.on_conflict_do_update(index_elements=["user_id", "way"], set_=values))
    return ResetLink(user.email or "", f"{base_url}/password/{token}", now + life)


async def linked_person(session: AsyncSession, token: str, now: datetime, *, for_update: bool = False) -> User:
    """Whose password a link sets. Raises NotFound for one that was used, replaced, out of date or never made.

    What somebody in charge has handed out ends with being in charge.
    """
    query = select(PasswordLink).where(PasswordLink.token_hash == token_hash(token))
    link = (await session.scalars(query.with_for_update() if for_update else query)).one_or_none()
    if link is None or link.expires_at <= now:
        raise NotFound(NOT_VALID)
    if link.created_by and not await _is_in_charge(session, link.created_by):
        raise NotFound(NOT_VALID)
    user = await lock_row(session, User, link.user_id) if for_update else await session.get_one(User, link.user_id)
    if user.status is not Status.PUBLISHED or user.type is not UserType.USER:
        raise NotFound(NOT_VALID)
    return user


async def _is_in_charge(session: AsyncSession, user_id: str) -> bool:
    maker = await session.get(User, user_id)
    return maker is not None and maker.status is Status.PUBLISHED and SUPER_ADMIN in maker.roles


async def redeem_link(database: Database, token: str, new: str) -> User:
    """Set the password that a link is for; it is used up, and the account's back-off with it.

    Raises ValidationFailed, NotFound.
    """
    check_new_password(new)
    now = database.clock.now()
    async with database.transaction(SYSTEM, read_only=True) as session:
        user = await linked_person(session, token, now)  # nobody has us work out hashes without a link
    async with passwords.turn(user.id):
        password_hash = await passwords.hashed(new)
    async with database.transaction(SYSTEM) as session:
        user = await linked_person(session, token, now, for_update=True)
        act_as(session, actor_of_user(user))
        await set_password(session, user, password_hash, now)
    await forget_attempts(database, account_key(user.email or ""), account_key(f"change {user.id}"))
    return user
