"""The Idempotency-Key header: the first completed answer is the answer.

Rule: docs/rules/conventions.md#idempotency-keys
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import select, update
from sqlalchemy.engine import make_url

from farthing.core.clock import SystemClock
from farthing.storage.stored_answers import StoredAnswer, forget_old
from tests.account import Account
from tests.api.books import Books
from tests.conftest import free_port
from tests.processes import ForkedProcess, serving
from tests.waiting import PATIENCE_SECONDS, until, until_waited_for

BODY = {"external_id": "acme", "name": "Acme"}


async def create(http: httpx.AsyncClient, key: str, body: Any = None, path: str = "/customers") -> httpx.Response:
    return await http.post(path, json=BODY if body is None else body, headers={"Idempotency-Key": key})


async def customers(account: Account) -> int:
    return int((await account.post("/customers/search", {}, expect=200))["pagination"]["total"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_repeated_request_gets_the_first_answer(account: Account) -> None:
    first = await create(account.http, "k")
    again = await create(account.http, "k")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"].startswith("application/json")
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await customers(account) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/customers", {**BODY, "name": "Other"}, id="another body"),
        pytest.param("/plans", BODY, id="another path"),
        pytest.param("/customers?a=b", BODY, id="another query"),
    ],
)
async def test_a_key_is_for_one_request_only(account: Account, path: str, body: Any) -> None:
    await create(account.http, "k")
    answer = await create(account.http, "k", body, path)
    assert code(answer) == (409, "already_exists")
    assert answer.json()["details"] == {"idempotency_key": "k"}
    assert (await create(account.http, "k")).headers["idempotent-replayed"] == "true"
    assert await customers(account) == 1


async def test_many_at_once_create_one(account: Account) -> None:
    answers = await asyncio.gather(*(create(account.http, "k") for _ in range(32)))
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) <= {201, 409}
    assert counted[201] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert {code(answer) for answer in answers if answer.status_code == 409} <= {(409, "version_conflict")}
    assert await customers(account) == 1
    assert (await create(account.http, "k")).status_code == 201


async def test_a_refusal_is_kept(account: Account) -> None:
    refused = await create(account.http, "k", {"external_id": "a", "name": "A", "email": "nobody"})
    assert refused.status_code == 400
    again = await create(account.http, "k", {"external_id": "a", "name": "A", "email": "nobody"})
    assert (again.status_code, again.content) == (400, refused.content)
    assert again.headers["idempotent-replayed"] == "true"
    await create(account.http, "other")
    taken = await create(account.http, "third")
    assert code(taken) == (409, "already_exists")
    await account.delete(f"/customers/{(await account.get('/customers/external/acme'))['id']}")
    assert (await create(account.http, "third")).content == taken.content
    assert (await create(account.http, "fourth")).status_code == 201


@pytest.fixture
def admin(account: Account, sockets: str) -> Iterator[psycopg.Connection]:
    name = make_url(account.database.url).database
    with psycopg.connect(f"postgresql://postgres@/{name}?host={sockets}", autocommit=True) as connection:
        yield connection


@contextmanager
def failing(admin: psycopg.Connection, account: Account) -> Iterator[None]:
    """Customers of this account cannot be stored meanwhile."""
    admin.execute(
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.tenant_id = '{account.tenant_id}' THEN RAISE 'out of order' USING ERRCODE = 'XX000'; END IF;
            RETURN NEW; END $$"""
    )
    admin.execute("CREATE TRIGGER fail BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION fail()")
    try:
        yield
    finally:
        admin.execute("DROP TRIGGER fail ON customers")
        admin.execute("DROP FUNCTION fail()")


async def test_a_failure_of_ours_is_not_kept(account: Account, admin: psycopg.Connection) -> None:
    with failing(admin, account):
        answer = await create(account.http, "k")
        assert code(answer) == (500, "database_error")
        assert "out of order" not in answer.text
        assert answer.json()["details"]["request_id"] == answer.headers["x-request-id"]
    answer = await create(account.http, "k")
    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers
    assert await customers(account) == 1


async def test_while_in_progress_the_same_key_is_refused_and_others_are_not(
    account: Account, stranger: Account, admin: psycopg.Connection
) -> None:
    with admin.transaction():
        admin.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        waiting = asyncio.create_task(create(account.http, "k"))
        await until_waited_for(admin)
        assert code(await create(account.http, "k")) == (409, "version_conflict")
        meter = {"name": "m", "event_name": "e", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
        assert (await create(account.http, "other", meter, "/meters")).status_code == 201
        assert (await create(stranger.http, "k", meter, "/meters")).status_code == 201
        assert not waiting.done()
    assert (await waiting).status_code == 201
    assert (await create(account.http, "k")).headers["idempotent-replayed"] == "true"


async def test_a_client_that_hangs_up_leaves_nothing_claimed(account: Account, admin: psycopg.Connection) -> None:
    with admin.transaction():
        admin.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        waiting = asyncio.create_task(create(account.http, "k"))
        await until_waited_for(admin)
        waiting.cancel()  # closes the connection
        await asyncio.wait({waiting})
    assert (await _claimed(account.http)).status_code == 201
    assert await customers(account) == 1


async def test_a_key_is_its_environments_own(account: Account, stranger: Account) -> None:
    mine = await create(account.http, "k")
    theirs = await create(stranger.http, "k")
    other = await account.new_key(["super_admin"], environment_id=await account.new_environment())
    async with account.client(other) as http:
        elsewhere = await create(http, "k")
    assert [a.status_code for a in (mine, theirs, elsewhere)] == [201, 201, 201]
    assert len({a.json()["id"] for a in (mine, theirs, elsewhere)}) == 3


async def test_an_answer_without_a_body_is_replayed_without_one(account: Account) -> None:
    person = {"type": "user", "email": f"{uuid.uuid4().hex}@example.com", "roles": ["all_reader"]}
    made = await account.post("/users", person)
    for replayed in (None, "true"):
        answer = await create(account.http, "k", {}, f"/users/{made['id']}/remove")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get("idempotent-replayed") == replayed


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\tb"])
async def test_a_malformed_key_is_refused(account: Account, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await account.http.post("/customers", json=BODY, headers=headers)
    assert code(answer) == (400, "validation_error")
    assert list(answer.json()["details"]) == ["Idempotency-Key"]
    assert await customers(account) == 0


async def test_the_longest_key_is_accepted(account: Account) -> None:
    assert (await create(account.http, "~" * 255)).status_code == 201


async def test_only_posts_have_keys(account: Account) -> None:
    made = (await create(account.http, "k")).json()
    for name in ("One", "Two"):
        headers = {"Idempotency-Key": "put"}
        answer = await account.http.put(f"/customers/{made['id']}", json={"name": name}, headers=headers)
        assert answer.json()["name"] == name


async def test_refused_credentials_are_not_kept(account: Account) -> None:
    async with account.client("sk_wrong") as http:
        assert (await create(http, "k")).status_code == 401
    reader = await account.new_key(["all_reader"])
    async with account.client(reader) as http:
        assert (await create(http, "k")).status_code == 403
    assert (await create(account.http, "k")).status_code == 201


async def test_an_answer_is_forgotten_after_a_day(account: Account) -> None:
    first = await create(account.http, "k")
    async with account.transaction() as session:
        stored = (await session.scalars(select(StoredAnswer))).one()
        await session.execute(update(StoredAnswer).values(created_at=stored.created_at.replace(year=2020)))
    again = await create(account.http, "k")
    assert code(again) == (409, "already_exists"), "the request runs again, and the customer is there"
    assert (await create(account.http, "k")).content == again.content
    async with account.transaction() as session:
        await forget_old(session, SystemClock().now())
        assert (await session.scalars(select(StoredAnswer.status_code))).all() == [409]
        await session.execute(update(StoredAnswer).values(created_at=stored.created_at.replace(year=2020)))
        await forget_old(session, SystemClock().now())
        assert (await session.scalars(select(StoredAnswer.status_code))).all() == []
    assert first.status_code == 201


async def test_a_replay_changes_nothing(account: Account, sockets: str) -> None:
    await create(account.http, "k")
    with Books(sockets, account) as books:
        before = books.state()
        await create(account.http, "k")
        await create(account.http, "k", {**BODY, "name": "Other"})
        assert books.state() == before


KEY = "sk_idempotency_crash_0123456789"


@contextmanager
def process(url: str, port: int) -> Iterator[ForkedProcess]:
    """A server in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    environment |= {
        "FARTHING_DATABASE_URL": url,
        "FARTHING_PORT": str(port),
        "FARTHING_SECRET_KEY": "a master key for tests only",
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_LOG_LEVEL": "error",
        "FARTHING_WORKER": "false",
    }
    server = serving(environment)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
async def test_a_crash_in_between_leaves_nothing_claimed(new_database: Callable[..., str], sockets: str) -> None:
    url, port = new_database(), free_port()
    admin = f"postgresql://postgres@/{make_url(url).database}?host={sockets}"
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/v1", headers={"x-api-key": KEY}, timeout=PATIENCE_SECONDS
    )
    async with client as http:
        with process(url, port) as server, psycopg.connect(admin) as connection:
            connection.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
            waiting = asyncio.create_task(create(http, "k"))
            await until_waited_for(connection)
            assert code(await create(http, "k")) == (409, "version_conflict")
            server.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await waiting
        with process(url, port):
            answer = await _claimed(http)
            assert answer.status_code == 201
            assert (await create(http, "k")).content == answer.content
            found = await http.post("/customers/search", json={})
            assert found.json()["pagination"]["total"] == 1


async def _claimed(http: httpx.AsyncClient) -> httpx.Response:
    """The answer once nobody is at work on the key any more: PostgreSQL notices later that a connection is gone."""

    async def ask() -> httpx.Response | None:
        answer = await create(http, "k")
        return answer if answer.status_code != 409 else None

    answer = await until(ask)
    assert answer is not None
    return answer


async def test_keys_of_random_shape(account: Account) -> None:
    """A hash of a key decides nothing: different keys never share an answer."""
    keys = [uuid.uuid4().hex for _ in range(20)]
    bodies = [{"external_id": key, "name": key} for key in keys]
    answers = await asyncio.gather(*(create(account.http, k, b) for k, b in zip(keys, bodies, strict=True)))
    assert [answer.json()["external_id"] for answer in answers] == keys
