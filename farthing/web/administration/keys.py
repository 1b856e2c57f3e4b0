"""API keys: who holds which, making one (shown once), and revoking."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.credentials import api_keys
from farthing.identity.roles import ROLES
from farthing.identity.tables import Secret, SecretType, User
from farthing.storage.postgres import Database
from farthing.web.access.visitors import changes, form_of, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render

MOST = 200


class Keys(Controller):
    """API keys of the environment."""

    path = "/keys"
    include_in_schema = False

    @get("/", guards=[shows("secret")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The keys that the visitor may see."""
        return await _page(request, session)

    @post("/", guards=[changes("secret")], status_code=200)
    async def create(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Make a key and show it, once: the answer itself is the only place where it ever stands."""
        given = form_of(request)
        name, kind = given.get("name", ""), given.get("type", "")
        try:
            if not 1 <= len(name) <= 255:
                raise ValidationFailed.of("name", "must have 1 to 255 characters")
            if kind not in set(SecretType):
                raise ValidationFailed.of("type", "must be a private or a publishable key")
            _, key = await api_keys.create(
                session,
                services.part(HeaderAuthenticator).hasher,
                visitor_of(request).caller,
                name=name,
                type=SecretType(kind),
                now=services.part(Database).clock.now(),
            )
        except FarthingError as error:
            return await refused(request, "/keys", error)
        return await _page(request, session, made=key)

    @post("/{secret_id:str}/revoke", guards=[changes("secret")])
    async def revoke(self, secret_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Make a key open nothing from now on."""
        try:
            await api_keys.delete(session, visitor_of(request).caller, secret_id)
        except FarthingError as error:
            return await refused(request, "/keys", error)
        return done(request, "/keys", "Revoked. The key opens nothing any more.")


async def _page(request: HttpRequest, session: AsyncSession, made: str = "") -> Response[str]:
    statement = api_keys.visible(visitor_of(request).caller).where(Secret.status == Status.PUBLISHED)
    found = (await session.scalars(statement.order_by(Secret.created_at.desc()).limit(MOST))).all()
    owners = select(User.id, User.name, User.email).where(User.id.in_({key.user_id for key in found}))
    names = {row.id: row.name or row.email or row.id for row in await session.execute(owners)}
    return render(request, "keys.html", keys=found, owners=names, made=made, roles=ROLES)
