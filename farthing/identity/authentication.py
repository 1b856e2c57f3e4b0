"""From the headers of a request to its caller.

A valid API key wins; without one, or with an invalid one, the bearer token is tried. Verified keys are remembered
for at most 30 seconds and forgotten at once when they, their owner or their tenant change, in every process.
Rule: docs/rules/identity.md#credentials
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jwt
from litestar.connection import ASGIConnection
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller, RequestTerms
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import PermissionDenied, Unauthorized
from farthing.core.origin import Actor
from farthing.identity.credentials.actors import actor_of_key, actor_of_operator, actor_of_user
from farthing.identity.credentials.keys import TOPIC, KeyHasher, by_hashes, derived_key
from farthing.identity.credentials.master_key import MasterKeys, signed_claims
from farthing.identity.environments import has_others
from farthing.identity.ports import IdentityPorts
from farthing.identity.roles import INGEST_ONLY, SUPER_ADMIN, permissions_of
from farthing.identity.settings.catalogue import RequestConfig
from farthing.identity.sign_in import sessions
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import Environment, InternalStatus, Secret, SecretType, Setting, Tenant, User, UserType
from farthing.settings import OperatorKey, Settings
from farthing.storage.notices import Listener
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

REMEMBERED_SECONDS = 30
MOST_REMEMBERED = 10_000
TOKEN_LIFE = timedelta(days=30)
PURPOSE = "user-tokens"
_ALGORITHMS = ["HS256", "HS384", "HS512"]

Connection = ASGIConnection[Any, Any, Any, Any]


class Tokens:
    """User tokens: signed, of one kind, for 30 days or until their session is ended."""

    def __init__(self, keys: MasterKeys) -> None:
        self._keys = keys

    def issue(self, user: User, session_token: str, now: datetime) -> str:
        """A token of a session that was just opened for `user`."""
        claims = {
            "typ": "user",
            "user_id": user.id,
            "tenant_id": user.tenant_id,
            "sid": session_token,
            "iat": now,
            "exp": now + TOKEN_LIFE,
        }
        return jwt.encode(claims, derived_key(self._keys.current, PURPOSE), algorithm="HS256")

    def read(self, token: str, now: datetime) -> Mapping[str, Any]:
        """The claims of a valid user token. Raises Unauthorized."""
        try:
            claims: Mapping[str, Any] = signed_claims(
                token,
                self._keys.accepted(now),
                PURPOSE,
                algorithms=_ALGORITHMS,
                options={"require": ["exp"], "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized("Invalid token") from error
        if claims.get("typ", "user") != "user" or "customer_id" in claims:
            raise Unauthorized("Invalid token")
        if not all(isinstance(claims.get(name), str) and claims[name] for name in ("user_id", "tenant_id")):
            raise Unauthorized("Invalid token claims")
        return claims


class HeaderAuthenticator:
    """Authenticates requests by API key, operator key or user token."""

    def __init__(self, database: Database, settings: Settings, listener: Listener | None = None) -> None:
        self.keys = MasterKeys.of(settings)
        self._database = database
        self._header = settings.api_key_header.lower().encode()
        self._operators = settings.operators()
        self._access = {
            tenant: {user: frozenset(environments) for user, environments in users.items()}
            for tenant, users in settings.environments_by_user().items()
        }
        self._publishable_full = settings.publishable_keys_full_access
        self._remembered: dict[str, tuple[Caller, float, datetime | None]] = {}
        self._forgotten = 0
        self._looking: dict[tuple[str, int], asyncio.Task[Caller | None]] = {}
        self._used: set[str] = set()
        self._rehashed: dict[str, str] = {}
        self.hasher = KeyHasher(self.keys.current)
        self.tokens = Tokens(self.keys)
        self.seen_sessions = sessions.SeenSessions()
        self._listener = listener
        database.ports.part(IdentityPorts).caller_caches.add(self)
        if listener is not None:
            listener.subscribe(TOPIC, self.forget)

    def forget(self, key: str | None = None) -> None:
        """Drop what is remembered; whose it was does not matter, a look-up is cheap."""
        self._forgotten += 1
        self._remembered.clear()

    async def __call__(self, connection: Connection, *, needs_environment: bool) -> Caller:
        return await self.by_headers(dict(connection.scope["headers"]), needs_environment=needs_environment)

    async def by_headers(self, headers: Mapping[bytes, bytes], *, needs_environment: bool) -> Caller:
        """The caller whose credentials stand in the headers. Raises Unauthorized, PermissionDenied."""
        key = headers.get(self._header)
        if key is not None:
            caller = await self._by_key(key.decode("latin-1"), headers, needs_environment)
            if caller is not None:
                return self._admit(caller)
        bearer = headers.get(b"authorization")
        if bearer is not None:
            caller = await self._by_token(bearer.decode("latin-1"), headers, needs_environment)
            return self._admit(caller)
        if key is None:
            raise Unauthorized("Unauthorized")
        if key.lower().startswith(b"bearer "):
            raise Unauthorized(f"Invalid API key: the header {self._header.decode()} holds the key alone, not 'Bearer'")
        raise Unauthorized("Invalid API key")

    def environments_of(self, caller: Caller) -> frozenset[str] | None:
        """The environments the deployment lets this caller enter; None when it may enter all of its tenant's."""
        return self._access.get(caller.tenant_id, {}).get(caller.user_id)

    def changeable_environments_of(self, caller: Caller) -> frozenset[str] | None:
        """The environments that the caller may name and whose books it may change, a key its own; None for all."""
        return frozenset({caller.environment_id}) if caller.is_api_key else self.environments_of(caller)

    async def require_all_environments(self, session: AsyncSession, caller: Caller) -> None:
        """Refuse whoever may enter some environments only, as an API key does where there are others than its own.

        A person who is let in, or given another role or another's account, would enter all. Raises PermissionDenied.
        """
        if self.environments_of(caller) is not None:
            raise PermissionDenied("Only who may enter every environment can let people in")
        if caller.is_api_key and await has_others(session, caller.tenant_id, caller.environment_id):
            raise PermissionDenied("This API key is bound to one of several environments; sign in to let people in")

    def _admit(self, caller: Caller) -> Caller:
        listed = self.environments_of(caller)
        if listed is not None and caller.environment_id and caller.environment_id not in listed:
            raise PermissionDenied("You don't have access to this environment")
        return caller

    async def _by_key(self, key: str, headers: Mapping[bytes, bytes], needs_environment: bool) -> Caller | None:
        operator = self._operators.get(hashlib.sha256(key.encode()).hexdigest()) if self._operators else None
        if operator is not None and operator.is_active:
            return await self._by_operator_key(operator, headers, needs_environment)
        digest = self.hasher.hash(key)
        now = self._database.clock.now()
        remembered = self._remembered.get(digest)
        if remembered is not None and remembered[1] > time.monotonic():
            caller, _, expires_at = remembered
            return caller if expires_at is None or expires_at > now else None
        # those who ask at once, as when it is no longer remembered, wait for one look-up; not for one before a change
        asked = (digest, self._forgotten)
        looking = self._looking.get(asked)
        if looking is None:
            looking = self._looking[asked] = asyncio.create_task(self._look_up(key, digest, now), name="look up a key")
            looking.add_done_callback(lambda _: self._looking.pop(asked))
        return await asyncio.shield(looking)

    async def _look_up(self, key: str, digest: str, now: datetime) -> Caller | None:
        forgotten = self._forgotten
        async with self._database.transaction(SYSTEM) as session:
            secret = await by_hashes(session, [KeyHasher(master).hash(key) for master in self.keys.accepted(now)])
            found = await self._valid(session, secret, now) if secret is not None else None
        if found is None or secret is None:
            return None
        # what was read before a change must not be remembered after it
        if forgotten == self._forgotten and (self._listener is None or self._listener.connected.is_set()):
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = (found, time.monotonic() + REMEMBERED_SECONDS, secret.expires_at)
        self._used.add(secret.id)
        if secret.hash != digest:
            self._rehashed[secret.id] = digest
        return found

    async def _by_operator_key(
        self, operator: OperatorKey, headers: Mapping[bytes, bytes], needs_environment: bool
    ) -> Caller | None:
        async with self._database.transaction(SYSTEM) as session:
            tenant = await session.get(Tenant, operator.tenant_id)
            if tenant is None:
                return None
            environment = await self._chosen(session, tenant.id, headers, needed=needs_environment)
            terms = await _request_terms(session, environment)
        caller = self._caller(
            tenant,
            environment,
            operator.user_id,
            operator.name,
            [SUPER_ADMIN],
            person=True,
            actor=actor_of_operator(operator),
        )
        return replace(caller, is_operator=True, terms=terms)

    async def _valid(self, session: AsyncSession, secret: Secret, now: datetime) -> Caller | None:
        if secret.status != Status.PUBLISHED or (secret.expires_at is not None and secret.expires_at <= now):
            return None
        owner = await session.get(User, secret.user_id)
        tenant = await session.get_one(Tenant, secret.tenant_id)
        environment = await session.get(Environment, secret.environment_id)
        if owner is None or owner.status != Status.PUBLISHED:
            return None
        if environment is None or environment.status != Status.PUBLISHED:
            return None
        caller = self._caller(
            tenant,
            environment,
            owner.id,
            secret.id,
            secret.roles,
            person=secret.user_type == UserType.USER,
            actor=actor_of_key(secret),
        )
        caller = replace(
            caller,
            is_api_key=True,
            credential_expires_at=secret.expires_at,
            terms=await _request_terms(session, environment),
        )
        if secret.type == SecretType.PUBLISHABLE_KEY and not self._publishable_full:
            return replace(caller, roles=(), permissions=INGEST_ONLY, is_person=False, is_publishable=True)
        return caller

    async def _by_token(self, header: str, headers: Mapping[bytes, bytes], needs_environment: bool) -> Caller:
        if header.removeprefix("Bearer ").startswith(("sk_", "pk_")):
            raise Unauthorized(
                f"Invalid token: an API key goes into the header {self._header.decode()}, not into Authorization"
            )
        if not header.startswith("Bearer "):
            raise Unauthorized("Invalid authorization header format")
        now = self._database.clock.now()
        claims = self.tokens.read(header.removeprefix("Bearer "), now)
        async with self._database.transaction(SYSTEM) as session:
            user = await session.get(User, claims["user_id"])
            if user is None or user.status != Status.PUBLISHED or user.tenant_id != claims["tenant_id"]:
                raise Unauthorized("Unauthorized")
            # a token that was made before sessions could be ended names none
            signed_in = await sessions.valid_session(session, str(claims.get("sid")), SessionKind.API, user, now)
            if signed_in is None:
                raise Unauthorized("Invalid token")
            self.seen_sessions.add(signed_in.id)
            tenant = await session.get_one(Tenant, user.tenant_id)
            environment = await self._chosen(
                session, user.tenant_id, headers, needed=needs_environment, bound_to=claims.get("environment_id")
            )
            terms = await _request_terms(session, environment)
        caller = self._caller(
            tenant,
            environment,
            user.id,
            user.id,
            user.roles,
            person=user.type == UserType.USER,
            actor=actor_of_user(user),
        )
        return replace(caller, terms=terms)

    async def _chosen(
        self,
        session: AsyncSession,
        tenant_id: str,
        headers: Mapping[bytes, bytes],
        *,
        needed: bool,
        bound_to: str | None = None,
    ) -> Environment | None:
        """The environment a request asks for, if its tenant has it; one message for every way it may not."""
        asked = bound_to or headers.get(b"x-environment-id", b"").decode("latin-1")
        if not asked and not needed:
            return None
        found = (
            await session.execute(
                select(Environment).where(
                    Environment.id == asked,
                    Environment.tenant_id == tenant_id,
                    Environment.status == Status.PUBLISHED,
                )
            )
        ).scalar_one_or_none()
        if found is None:
            raise PermissionDenied("Invalid or inaccessible environment")
        return found

    def _caller(
        self,
        tenant: Tenant,
        environment: Environment | None,
        user_id: str,
        credential_id: str,
        roles: list[str],
        *,
        person: bool,
        actor: Actor,
    ) -> Caller:
        return Caller(
            tenant_id=tenant.id,
            environment_id=environment.id if environment else "",
            user_id=user_id,
            credential_id=credential_id,
            actor=actor,
            roles=tuple(roles),
            permissions=permissions_of(roles),
            is_person=person,
            tenant_suspended=tenant.internal_status == InternalStatus.SUSPENDED,
            frozen_time=environment.frozen_time if environment else None,
        )

    def take_used(self) -> list[str]:
        """The ids of keys verified since the last call, for the minute's `last_used_at`."""
        used, self._used = list(self._used), set()
        return used

    def take_rehashed(self) -> dict[str, str]:
        """Keys verified by the master key before since the last call, with their hash under the one in force."""
        rehashed, self._rehashed = self._rehashed, {}
        return rehashed


async def _request_terms(session: AsyncSession, environment: Environment | None) -> RequestTerms:
    """What the environment's setting says about requests; the defaults where there is none."""
    if environment is None:
        return RequestTerms()
    value = await session.scalar(
        select(Setting.value).where(
            Setting.tenant_id == environment.tenant_id,
            Setting.environment_id == environment.id,
            Setting.key == RequestConfig.key,
            Setting.status == Status.PUBLISHED,
        )
    )
    if not value:
        return RequestTerms()
    config = convert(value, RequestConfig)
    return RequestTerms(config.refuse_unknown_fields, config.earliest_event_time, config.event_years_ahead)
