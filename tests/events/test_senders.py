"""What a credential that may only send events can do: send new ones, correct its own, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from farthing.identity.credentials import keys
from farthing.identity.tables import SecretType, User, UserType
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.events.counter import sent


@dataclass
class Senders:
    """Clients of one environment: the owner's full key, and four that may only send."""

    owner: httpx.AsyncClient
    browser: httpx.AsyncClient
    other_browser: httpx.AsyncClient
    service: httpx.AsyncClient
    same_service: httpx.AsyncClient


@pytest.fixture
async def senders(account: Account) -> AsyncIterator[Senders]:
    browser, other = [
        await account.new_key(["super_admin"], type=SecretType.PUBLISHABLE_KEY, owner_type=UserType.USER)
        for _ in range(2)
    ]
    service = await account.new_key(["event_ingestor"])
    async with account.database.transaction(SYSTEM) as session:
        found = await keys.by_hashes(session, [account.hasher.hash(service)])
        assert found is not None
        holder = await session.get_one(User, found.user_id)
        _, second = await keys.create(
            session, account.hasher, owner=holder, environment_id=account.environment_id, name="second"
        )
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(account.client(key))
            for key in (account.key, browser, other, service, second)
        ]
        yield Senders(*clients)


async def status(http: httpx.AsyncClient, **properties: Any) -> int:
    return (await http.post("/events", json=sent("10:00", "e", **properties))).status_code


async def value(account: Account) -> Any:
    return (await account.get("/events/e"))["event"]["properties"].get("x")


async def test_its_own_event_may_be_corrected(account: Account, senders: Senders) -> None:
    assert await status(senders.browser, x=1) == 202
    assert await status(senders.browser, x=2) == 202
    assert await value(account) == 2


async def test_a_service_account_is_one_sender_whatever_its_key(account: Account, senders: Senders) -> None:
    assert await status(senders.service, x=1) == 202
    assert await status(senders.same_service, x=2) == 202
    assert await value(account) == 2


@pytest.mark.parametrize("first", ["owner", "other_browser", "service"])
async def test_what_another_sent_is_not_replaced(account: Account, senders: Senders, first: str) -> None:
    assert await status(getattr(senders, first), x=1) == 202
    refused = await senders.browser.post("/events", json=sent("10:00", "e", x=2))
    assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
    assert await value(account) == 1
    assert await status(senders.browser, x=1) == 202, "the same again is taken from everybody"


async def test_who_may_delete_corrects_everybody(account: Account, senders: Senders) -> None:
    assert await status(senders.browser, x=1) == 202
    assert await status(senders.owner, x=2) == 202
    assert await value(account) == 2
    assert await status(senders.browser, x=3) == 409, "it is the owner's now"


async def test_a_batch_names_every_event_of_others_and_takes_nothing(account: Account, senders: Senders) -> None:
    for name in ("a", "b"):
        assert (await senders.owner.post("/events", json=sent("10:00", name, x=1))).status_code == 202
    batch = {"events": [sent("10:00", name, x=2) for name in ("new", "a", "other", "b")]}
    refused = await senders.browser.post("/events/bulk", json=batch)
    assert refused.status_code == 409
    assert [(error["index"], error["field"]) for error in refused.json()["details"]["errors"]] == [
        (1, "event_id"),
        (3, "event_id"),
    ]
    await account.get("/events/new", expect=404)


async def test_nothing_is_deleted_or_read(account: Account, senders: Senders) -> None:
    assert await status(senders.browser, x=1) == 202
    for http in (senders.browser, senders.service):
        assert (await http.delete("/events/e")).status_code == 403
        for path in (
            "/events/e",
            "/events",
            "/environments",
            "/secrets/api/keys",
            "/rbac/roles",
            f"/tenants/{account.tenant_id}",
            "/customers",
        ):
            assert (await http.get(path)).status_code == 403, path
    assert (await senders.owner.delete("/events/e")).status_code == 204


async def test_a_key_in_a_browser_knows_nobody_and_a_sender_only_itself(account: Account, senders: Senders) -> None:
    assert (await senders.browser.get("/users/me")).status_code == 403
    answer = await senders.service.get("/users/me")
    assert answer.status_code == 200
    assert answer.json()["id"].startswith("user_")
    assert "@" not in answer.text
    assert not answer.json().get("tenant")


async def test_an_idempotency_key_belongs_to_the_credential_that_used_it(account: Account) -> None:
    async with account.client(await account.new_key(["all_writer"], owner_type=UserType.USER)) as other:
        asked = {
            "json": {"name": "G", "entity_type": "feature", "lookup_key": "one"},
            "headers": {"Idempotency-Key": "k"},
        }
        first = await account.http.post("/groups", **asked)  # type: ignore[arg-type]
        assert first.status_code == 201, first.text
        again = await account.http.post("/groups", **asked)  # type: ignore[arg-type]
        assert again.headers.get("idempotent-replayed") == "true"
        theirs = await other.post("/groups", **asked)  # type: ignore[arg-type]
        assert "idempotent-replayed" not in theirs.headers
        assert theirs.status_code == 409
