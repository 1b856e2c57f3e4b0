"""People with tokens, and addresses to sign in from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from farthing.core.ids import Kind, new_id
from farthing.identity.authentication import TOKEN_LIFE, Tokens
from farthing.identity.credentials.master_key import MasterKeys
from farthing.identity.sign_in.sessions import SignInOrigin, open_session
from farthing.identity.sign_in.tables import SessionKind
from farthing.identity.tables import User, UserType
from farthing.storage.scope import SYSTEM
from tests.account import Account

_addresses = itertools.count(1)


@pytest.fixture
def visitor(base_url: str) -> Callable[[], httpx.AsyncClient]:
    """Makes anonymous clients, each from a loopback address of its own: signing in is limited by address."""

    def make(url: str = base_url) -> httpx.AsyncClient:
        high, low = divmod(next(_addresses), 250)
        transport = httpx.AsyncHTTPTransport(local_address=f"127.1.{high}.{low + 1}")
        return httpx.AsyncClient(base_url=f"{url}/v1", transport=transport, timeout=60)

    return make


async def new_user(account: Account, roles: Sequence[str], type: UserType = UserType.USER) -> User:
    """A user of the account's tenant, straight from storage."""
    async with account.database.transaction(SYSTEM) as session:
        user = User(id=new_id(Kind.USER), tenant_id=account.tenant_id, type=type, roles=list(roles))
        session.add(user)
    return user


async def opened_session(account: Account, user_id: str) -> tuple[User, str]:
    """A user, and what proves a session that was just opened for them."""
    async with account.database.transaction(SYSTEM) as session:
        user = await session.get_one(User, user_id)
        return user, await open_session(session, user, SessionKind.API, TOKEN_LIFE, SignInOrigin(), datetime.now(UTC))


async def token_of(account: Account, user_id: str) -> str:
    """A token such as signing in gives."""
    user, opened = await opened_session(account, user_id)
    return Tokens(MasterKeys.of(account.settings)).issue(user, opened, datetime.now(UTC))


async def person(account: Account, roles: Sequence[str] = ("super_admin",)) -> httpx.AsyncClient:
    """A client that speaks as a new person with these roles, in the account's environment, by token."""
    token = await token_of(account, (await new_user(account, roles)).id)
    headers = {"Authorization": f"Bearer {token}", "X-Environment-ID": account.environment_id}
    return account.client(headers=headers)
