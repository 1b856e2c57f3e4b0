"""A tenant to test with: its keys, its scope, and a client that speaks as it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import httpx
from flexprice import Flexprice
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import Kind, new_id
from farthing.identity.bootstrap import new_tenant
from farthing.identity.credentials import keys
from farthing.identity.tables import Environment, EnvironmentType, SecretType, User, UserType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from tests.connection import PlainTransport
from tests.waiting import PATIENCE_SECONDS


class Account:
    """One tenant with one environment and one full key; `http` sends JSON with that key to paths under /v1."""

    tenant_id: str
    environment_id: str
    user_id: str
    key: str

    def __init__(self, base_url: str, settings: Settings, database: Database) -> None:
        self.base_url = base_url
        self.settings = settings
        self.database = database
        self.hasher = keys.KeyHasher(settings.master_key())

    async def __aenter__(self) -> Account:
        async with self.database.transaction(SYSTEM) as session:
            email = f"{uuid.uuid4().hex}@example.com"
            tenant, owner, environment = await new_tenant(session, name="Test", email=email)
            _, self.key = await keys.create(
                session, self.hasher, owner=owner, environment_id=environment.id, name="test"
            )
        self.tenant_id, self.user_id, self.environment_id = tenant.id, owner.id, environment.id
        self.http = self.client(self.key)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def client(self, key: str | None = None, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        """A client of paths under /v1; without a key it is anonymous."""
        given = {**({"x-api-key": key} if key else {}), **(headers or {})}
        return httpx.AsyncClient(
            base_url=f"{self.base_url}/v1", headers=given, timeout=2 * PATIENCE_SECONDS, transport=PlainTransport()
        )

    def sdk(self, key: str | None = None) -> Flexprice:
        """The published client, with this tenant's key. Use its `*_async` methods."""
        return Flexprice(server_url=f"{self.base_url}/v1", api_key_auth=key or self.key)

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.environment_id, self.user_id)

    def transaction(self, *, read_only: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction in this tenant's environment."""
        return self.database.transaction(self.scope, read_only=read_only)

    async def new_key(
        self,
        roles: Sequence[str],
        *,
        type: SecretType = SecretType.PRIVATE_KEY,
        owner_type: UserType = UserType.SERVICE_ACCOUNT,
        environment_id: str | None = None,
    ) -> str:
        """A key of a new owner who holds `roles`."""
        async with self.database.transaction(SYSTEM) as session:
            owner = User(id=new_id(Kind.USER), tenant_id=self.tenant_id, type=owner_type, roles=list(roles))
            session.add(owner)
            await session.flush()
            _, key = await keys.create(
                session,
                self.hasher,
                owner=owner,
                environment_id=environment_id or self.environment_id,
                name="more",
                type=type,
            )
        return key

    async def new_environment(self) -> str:
        """A second environment of the same tenant."""
        async with self.database.transaction(SYSTEM) as session:
            environment = Environment(
                id=new_id(Kind.ENVIRONMENT), tenant_id=self.tenant_id, name="Other", type=EnvironmentType.DEVELOPMENT
            )
            session.add(environment)
        return environment.id

    async def freeze(self, at: datetime | None) -> None:
        """Stop the environment's clock at `at`; None lets it run. Takes effect for the next request."""
        async with self.database.transaction(SYSTEM) as session:
            await session.execute(
                update(Environment).where(Environment.id == self.environment_id).values(frozen_time=at)
            )
            await keys.invalidate(session, self.environment_id)

    async def post(self, path: str, json: Any = None, expect: int = 201) -> Any:
        """POST and check the status; the decoded answer."""
        return self._checked(await self.http.post(path, json=json), expect)

    async def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        """GET and check the status; the decoded answer."""
        return self._checked(await self.http.get(path, params=params), expect)

    async def put(self, path: str, json: Any = None, expect: int = 200) -> Any:
        """PUT and check the status; the decoded answer."""
        return self._checked(await self.http.put(path, json=json), expect)

    async def delete(self, path: str, expect: int = 204) -> Any:
        """DELETE and check the status; the decoded answer, if any."""
        return self._checked(await self.http.delete(path), expect)

    @staticmethod
    def _checked(answer: httpx.Response, expect: int) -> Any:
        assert answer.status_code == expect, f"{answer.request.url}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None
