"""What the operator of a deployment does for people who sign in, from the command line, across tenants."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.identity.sign_in import passwords, second_factor
from farthing.identity.sign_in.back_off import account_key, forget_attempts
from farthing.identity.sign_in.email_and_password import person_with_email
from farthing.identity.sign_in.password_change import (
    HANDED_LINK_LIFE,
    ResetLink,
    check_new_password,
    make_link,
    set_password,
)
from farthing.identity.sign_in.sessions import end_all_sessions
from farthing.identity.sign_in.tables import SecondFactor, SignInSession
from farthing.identity.tables import User, UserType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM


async def list_people(database: Database) -> list[tuple[str, ...]]:
    """Id, email, name, tenant, roles, and what they sign in with, of every published person, oldest first."""
    seen = select(SignInSession.user_id, func.max(SignInSession.last_seen_at).label("at")).group_by(
        SignInSession.user_id
    )
    latest = seen.subquery()
    query = (
        select(User, SecondFactor.confirmed_at, latest.c.at)
        .outerjoin(SecondFactor, SecondFactor.user_id == User.id)
        .outerjoin(latest, latest.c.user_id == User.id)
        .where(User.type == UserType.USER, User.status == Status.PUBLISHED)
        .order_by(User.id)
    )
    async with database.transaction(SYSTEM, read_only=True) as session:
        return [
            (
                person.id,
                person.email or "",
                person.name,
                person.tenant_id,
                ", ".join(person.roles),
                "yes" if person.password_hash else "no",
                "yes" if factor_since else "no",
                last_seen.isoformat(timespec="minutes") if last_seen else "",
            )
            for person, factor_since, last_seen in await session.execute(query)
        ]


async def link_for(database: Database, settings: Settings, email: str) -> ResetLink:
    """A link with which the person sets a password. Raises NotFound."""
    async with database.transaction(SYSTEM) as session:
        person = await _person(session, email)
        return await make_link(session, person, settings.base_url, HANDED_LINK_LIFE, database.clock.now())


async def set_password_of(database: Database, email: str, password: str) -> None:
    """Give the person this password; sessions and links that are out end. Raises NotFound, ValidationFailed."""
    check_new_password(password)
    password_hash = await passwords.hashed(password)
    async with database.transaction(SYSTEM) as session:
        person = await _person(session, email)
        await set_password(session, person, password_hash, database.clock.now())
    await forget_attempts(database, account_key(email.strip().lower()), account_key(f"change {person.id}"))


async def remove_second_factor_of(database: Database, email: str) -> bool:
    """Let the person sign in with the password alone; whether there was a second factor. Raises NotFound."""
    async with database.transaction(SYSTEM) as session:
        return await second_factor.remove(session, (await _person(session, email)).id)


async def sign_out_everywhere(database: Database, email: str) -> int:
    """End every session of the person; how many there were. Raises NotFound."""
    async with database.transaction(SYSTEM) as session:
        return await end_all_sessions(session, (await _person(session, email)).id, database.clock.now())


async def _person(session: AsyncSession, email: str) -> User:
    person = await person_with_email(session, email)
    if person is None:
        raise NotFound(f"Nobody signs in with {email}")
    return person
