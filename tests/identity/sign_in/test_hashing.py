"""Whoever waits for a hash of a password keeps no connection of the database from others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy.pool import QueuePool

from farthing.identity.sign_in import passwords
from farthing.identity.sign_in.back_off import account_key
from tests.account import Account
from tests.identity.conftest import person
from tests.waiting import until
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import Visitor

Ask = Callable[[], Awaitable[httpx.Response]]


async def _inviting(account: Account) -> tuple[str, Ask]:
    """A person in charge who invites another."""
    leader = await person(account)
    user_id = (await leader.get("/users/me")).json()["id"]
    email = f"guest-{account.tenant_id}@example.com"
    return user_id, lambda: leader.post("/users", json={"type": "user", "email": email, "roles": ["all_reader"]})


async def _setting_up_a_second_factor(account: Account) -> tuple[str, Ask]:
    return await _with_password(account, "/account/second-factor")


async def _removing_a_second_factor(account: Account) -> tuple[str, Ask]:
    return await _with_password(account, "/account/second-factor/remove")


async def _with_password(account: Account, path: str) -> tuple[str, Ask]:
    """A form that asks for the password again."""
    visitor = await Visitor(account).sign_in(await Stage(account).admit())
    form = {"form_token": await visitor.token("/account"), "password": PASSWORD}
    return account_key(f"change {account.user_id}"), lambda: visitor.post(path, form)


@pytest.mark.parametrize("begin", [_inviting, _setting_up_a_second_factor, _removing_a_second_factor])
async def test_who_waits_for_a_hash_holds_no_connection(
    alone: Account, begin: Callable[[Account], Awaitable[tuple[str, Ask]]]
) -> None:
    asker, ask = await begin(alone)
    async with passwords.turn(asker):
        asked = asyncio.ensure_future(ask())

        async def waits() -> bool:
            return bool(passwords._turns._queues)

        await until(waits)
        pool = alone.database.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0
    assert (await asked).status_code < 400
