"""What requests do to each other and what the database does to them: locks, cut connections, refusals in words."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from farthing.api.work import UnitOfWork
from farthing.core.caller import Caller
from farthing.core.origin import VISITOR
from farthing.storage.connections import shares
from farthing.storage.postgres import LARGE_BODIES_PER_TENANT, LONG_READS_PER_TENANT, Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.waiting import PATIENCE_SECONDS

MANY = 40


@dataclass
class Deployment:
    """A server with few connections, on a database of its own."""

    url: str
    base_url: str
    admin_url: str
    account: Account
    stranger: Account

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            yield connection

    def cut(self, where: str = "true") -> int:
        """End every connection of the application, or those that `where` says, and wait until they are gone."""
        with self.superuser() as connection:
            done = connection.execute(
                "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = 'farthing' AND {where}"
            ).fetchone()
        assert done is not None
        return int(done[0])

    async def until_waiting(self, how_many: int = 1) -> None:
        """Until so many connections wait for a lock."""
        deadline = time.monotonic() + 60
        while self.waiting() < how_many:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    def waiting(self) -> int:
        """How many connections wait for a lock."""
        with self.superuser() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND usename = 'farthing' AND wait_event_type IN ('Lock', 'Timeout')"
            ).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
async def deployment(new_database: Callable[..., str], sockets: str) -> AsyncIterator[Deployment]:
    url = new_database()
    database = Database(url, wire(), pool_size=4, overflow=2)
    settings = settings_for(url)
    try:
        async with (
            running(settings, database) as base_url,
            Account(base_url, settings, database) as account,
            Account(base_url, settings, database) as stranger,
        ):
            admin_url = f"postgresql://postgres@/{make_url(url).database}?host={sockets}"
            yield Deployment(url, base_url, admin_url, account, stranger)
    finally:
        await database.close()


@pytest.fixture
async def impatient(deployment: Deployment) -> AsyncIterator[Account]:
    """The same tenant at another server of this deployment, whose statements wait and last for a moment only."""
    database = Database(deployment.url, wire(), pool_size=4, overflow=2)
    settings = settings_for(deployment.url, lock_timeout_seconds=0.4, statement_timeout_seconds=3)
    async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
        yield account
    await database.close()


@asynccontextmanager
async def locked(deployment: Deployment, customer_id: str) -> AsyncIterator[None]:
    """The customer's row is locked meanwhile, by somebody who does not let go."""
    with psycopg.connect(deployment.admin_url) as holder:
        holder.execute("SELECT 1 FROM customers WHERE id = %s FOR UPDATE", [customer_id])
        yield


async def customer(account: Account, external_id: str) -> str:
    made = await account.post("/customers", {"external_id": external_id, "name": "C"})
    return str(made["id"])


def check_refusal(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """A refusal that says when to come back, and nothing of SQL or the driver."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    for word in ("SELECT", "psycopg", "sqlalchemy", "customers", "server closed", "terminating"):
        assert word not in answer.text
    return body


async def test_a_locked_row_is_a_conflict_after_the_lock_timeout(deployment: Deployment, impatient: Account) -> None:
    id = await customer(impatient, "locked")
    async with locked(deployment, id):
        began = time.monotonic()
        answer = await impatient.http.put(f"/customers/{id}", json={"name": "D"})
        check_refusal(answer, 409, "version_conflict")  # the statement's own timeout would be a 503
        assert time.monotonic() - began > 0.3
    assert (await impatient.http.put(f"/customers/{id}", json={"name": "D"})).status_code == 200


async def test_a_conflict_that_passes_is_not_kept_for_its_idempotency_key(
    deployment: Deployment, impatient: Account
) -> None:
    key = {"idempotency-key": "after-the-lock"}
    with psycopg.connect(deployment.admin_url) as holder:
        holder.execute("LOCK TABLE customers IN SHARE MODE")
        answer = await impatient.http.post("/customers", json={"external_id": "late", "name": "C"}, headers=key)
        check_refusal(answer, 409, "version_conflict")
    again = await impatient.http.post("/customers", json={"external_id": "late", "name": "C"}, headers=key)
    assert again.status_code == 201, again.text
    assert "idempotent-replayed" not in again.headers


@pytest.mark.slow
async def test_one_locked_row_and_many_requests_leave_the_others_alone(deployment: Deployment) -> None:
    id = await customer(deployment.account, "crowded")
    other = await customer(deployment.stranger, "unbothered")
    async with locked(deployment, id):
        crowd = [
            asyncio.create_task(deployment.account.http.put(f"/customers/{id}", json={"name": f"N{n}"}))
            for n in range(MANY)
        ]
        await deployment.until_waiting(2)
        for n in range(20):
            answer = await deployment.stranger.http.put(f"/customers/{other}", json={"name": f"N{n}"})
            assert answer.status_code == 200, answer.text
            async with httpx.AsyncClient(base_url=deployment.base_url) as anonymous:
                assert (await anonymous.get("/health/ready")).status_code == 200
        assert not any(request.done() for request in crowd), "another tenant waits for none of it"
    answers = await asyncio.gather(*crowd)
    assert Counter(answer.status_code for answer in answers) == {200: MANY}
    assert (await deployment.account.http.put(f"/customers/{id}", json={"name": "E"})).status_code == 200


async def test_hot_reads_of_one_tenant_leave_connections_to_another(deployment: Deployment) -> None:
    """Summaries that wait, here for a table that somebody holds, are bounded per tenant too."""
    mine = await customer(deployment.account, "hot")
    with psycopg.connect(deployment.admin_url) as holder:
        holder.execute("LOCK TABLE invoices IN ACCESS EXCLUSIVE MODE")
        crowd = [
            asyncio.create_task(deployment.account.http.get(f"/customers/{mine}/invoices/summary")) for _ in range(MANY)
        ]
        await deployment.until_waiting(3)
        answer = await deployment.stranger.http.get("/customers")
        assert answer.status_code == 200
        holder.rollback()
        assert Counter(answer.status_code for answer in await asyncio.gather(*crowd)) == {200: MANY}


async def test_reports_of_one_tenant_leave_processors_and_connections_to_others(deployment: Deployment) -> None:
    """However many are asked for at once, a few are at work: here they wait for a table that somebody holds."""
    database = Database(deployment.url, wire(), pool_size=12, overflow=0)
    settings = settings_for(deployment.url)
    question = {"range": "2026-01-01..2026-12-01", "shape": "breakdown", "dimensions": ["customer_id"]}
    path = "/analytics/reports/net_billing/query"
    async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
        mine = await customer(account, "asks for reports")
        with psycopg.connect(deployment.admin_url) as holder:
            holder.execute("LOCK TABLE invoices IN ACCESS EXCLUSIVE MODE")
            crowd = [asyncio.create_task(account.http.post(path, json=question)) for _ in range(MANY)]
            crowd += [asyncio.create_task(account.http.get("/invoices?limit=1000&expand=subscription"))]
            await deployment.until_waiting(LONG_READS_PER_TENANT)
            # the rest waits without a connection, so that what is short is answered, to the same tenant too
            for _ in range(3):
                assert (await account.http.get(f"/customers/{mine}")).status_code == 200
            async with deployment.stranger.client(deployment.stranger.key) as other:
                assert (await other.get(f"{base_url}/v1/customers")).status_code == 200
            assert deployment.waiting() == LONG_READS_PER_TENANT
            holder.rollback()
            assert Counter(answer.status_code for answer in await asyncio.gather(*crowd)) == {200: MANY + 1}
    await database.close()


async def test_a_report_given_up_while_it_waits_for_a_connection_gives_its_turn_back(deployment: Deployment) -> None:
    database = Database(deployment.url, wire(), pool_size=4, overflow=2)
    requests = database.for_requests(database.timeouts, tenant_connections=1)
    assert requests.shares is not None
    assert requests.long_reads is not None
    tenant = deployment.account.tenant_id
    await requests.shares.acquire(tenant)
    for _ in range(LONG_READS_PER_TENANT):
        work = UnitOfWork(requests, "given-up")
        work.begin(Caller(tenant, "", "", "", VISITOR), read_only=True, is_long=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work.admit(), 0.05)
        assert work.holds_something, "the edge ends what holds something"
        await work.release()
    await asyncio.wait_for(requests.long_reads.acquire(tenant), 5)
    await database.close()


async def test_a_request_given_up_while_it_waits_gives_all_its_turns_back(deployment: Deployment) -> None:
    database = Database(deployment.url, wire(), pool_size=4, overflow=2)
    requests = database.for_requests(database.timeouts, tenant_connections=1)
    assert requests.shares is not None
    tenant = deployment.account.tenant_id
    await requests.shares.acquire(tenant)
    work = UnitOfWork(requests, "given-up")
    await work.begin_large_body(tenant)
    work.begin(Caller(tenant, "", "", "", VISITOR), read_only=False)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work.admit(), 0.05)
    assert work.holds_something, "the edge ends what holds something"
    await work.release()
    assert not work.holds_something
    for turns in (requests.large_bodies, requests.abreast):
        assert turns is not None
        assert not turns._held
    await database.close()


async def test_events_and_summaries_wait_for_no_place(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests wait for a row while another tenant asks too: what is read besides waits, these are answered."""
    monkeypatch.setattr(shares, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(shares, "ACTIVE_SECONDS", 600)
    account = deployment.account
    id = await customer(account, "abreast")
    assert (await deployment.stranger.http.get("/customers")).status_code == 200
    async with locked(deployment, id):
        crowd = [asyncio.create_task(account.http.put(f"/customers/{id}", json={"name": "N"})) for _ in range(3)]
        await deployment.until_waiting(2)
        listed = asyncio.create_task(account.http.get("/customers"))
        assert (await deployment.stranger.http.get("/customers")).status_code == 200
        assert (await account.http.get(f"/customers/{id}/invoices/summary")).status_code == 200
        event = {"event_name": "call", "external_customer_id": "abreast"}
        assert (await account.http.post("/events", json=event)).status_code == 202
        assert not listed.done()
    answers = await asyncio.gather(listed, *crowd)
    assert Counter(answer.status_code for answer in answers) == {200: 4}


async def test_large_bodies_of_one_tenant_are_stored_a_few_at_a_time(deployment: Deployment) -> None:
    """Here the first wait for a table that somebody holds; another is told when to come back, and keeps nothing."""
    database = Database(deployment.url, wire(), pool_size=4, overflow=2)
    settings = settings_for(deployment.url, connection_wait_seconds=0.3)
    event = {"event_name": "large", "external_customer_id": "c", "properties": {"text": "x" * 100_000}}
    body = {"events": [event] * 12}
    async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
        with psycopg.connect(deployment.admin_url) as holder:
            holder.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            stored = [
                asyncio.create_task(account.http.post("/events/bulk", json=body))
                for _ in range(LARGE_BODIES_PER_TENANT)
            ]
            await deployment.until_waiting(LARGE_BODIES_PER_TENANT)
            refused = check_refusal(await account.http.post("/events/bulk", json=body), 503, "service_unavailable")
            assert "large requests" in refused["message"]
            assert (await account.http.get("/customers")).status_code == 200
            holder.rollback()
        assert Counter(answer.status_code for answer in await asyncio.gather(*stored)) == {202: len(stored)}
        assert (await account.http.post("/events/bulk", json=body)).status_code == 202
    await database.close()


async def test_a_crowd_at_a_locked_row_is_refused_with_when_to_come_back(
    deployment: Deployment, impatient: Account
) -> None:
    id = await customer(impatient, "refused")
    async with locked(deployment, id):
        crowd = (impatient.http.put(f"/customers/{id}", json={"name": f"N{n}"}) for n in range(8))
        for answer in await asyncio.gather(*crowd):
            check_refusal(answer, 409, "version_conflict")


async def test_a_statement_that_takes_too_long_is_ended(deployment: Deployment, impatient: Account) -> None:
    with slow_customers(deployment, seconds=PATIENCE_SECONDS):
        answer = await impatient.http.post("/customers", json={"external_id": "slow", "name": "C"})
        check_refusal(answer, 503, "service_unavailable")


@contextmanager
def slow_customers(deployment: Deployment, seconds: float, *, at_commit: bool = False) -> Iterator[None]:
    """Storing a customer takes so long, in its statement or in its commit."""
    kind, when = ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED") if at_commit else ("TRIGGER", "")
    with deployment.superuser() as admin:
        admin.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        admin.execute(f"CREATE {kind} dawdle AFTER INSERT ON customers {when} FOR EACH ROW EXECUTE FUNCTION dawdle()")
    try:
        yield
    finally:
        with deployment.superuser() as admin:
            admin.execute("DROP FUNCTION dawdle CASCADE")


async def test_connections_cut_while_idle_are_replaced_and_nobody_notices(deployment: Deployment) -> None:
    account = deployment.account
    id = await customer(account, "idle")
    paths = ["/customers", f"/customers/{id}/invoices/summary"]
    await asyncio.gather(*(account.http.get(path) for path in paths * 8))
    for _ in range(3):
        assert deployment.cut() >= 2
        answers = await asyncio.gather(*(account.http.get(path) for path in paths * 4))
        made = await account.http.post("/customers", json={"external_id": f"i{time.monotonic_ns()}", "name": "C"})
        assert Counter(answer.status_code for answer in [*answers, made]) == {200: 8, 201: 1}


async def test_a_connection_cut_in_the_middle_is_503_and_undone(deployment: Deployment) -> None:
    with slow_customers(deployment, seconds=PATIENCE_SECONDS):
        asked = asyncio.create_task(
            deployment.account.http.post("/customers", json={"external_id": "cut", "name": "C"})
        )
        await deployment.until_waiting()
        assert deployment.cut("wait_event = 'PgSleep'") == 1
        check_refusal(await asked, 503, "service_unavailable")
    assert (await deployment.account.http.get("/customers/external/cut")).status_code == 404
    await customer(deployment.account, "cut")


@pytest.mark.parametrize("key", [None, "the-same"])
async def test_a_connection_cut_at_the_commit_says_that_the_outcome_is_unknown(
    deployment: Deployment, key: str | None
) -> None:
    body = {"external_id": f"commit-{key}", "name": "C"}
    headers = {"idempotency-key": key} if key else {}
    with slow_customers(deployment, seconds=PATIENCE_SECONDS, at_commit=True):
        asked = asyncio.create_task(deployment.account.http.post("/customers", json=body, headers=headers))
        await deployment.until_waiting()
        assert deployment.cut("wait_event = 'PgSleep'") == 1
        refused = check_refusal(await asked, 503, "service_unavailable")
    assert refused["details"]["outcome"] == "unknown"
    assert ("same Idempotency-Key" in refused["message"]) == (key is not None)
    again = await deployment.account.http.post("/customers", json=body, headers=headers)
    assert again.status_code == 201, again.text


async def test_a_database_set_read_only_says_so_and_goes_on_reading(deployment: Deployment) -> None:
    name = make_url(deployment.url).database
    with deployment.superuser() as admin:
        admin.execute(f"ALTER ROLE farthing IN DATABASE {name} SET default_transaction_read_only = on")
    try:
        deployment.cut()
        answer = await deployment.account.http.post("/customers", json={"external_id": "ro", "name": "C"})
        assert "read-only" in check_refusal(answer, 503, "service_unavailable")["message"]
        assert (await deployment.account.http.get("/customers")).status_code == 200
    finally:
        with deployment.superuser() as admin:
            admin.execute(f"ALTER ROLE farthing IN DATABASE {name} RESET default_transaction_read_only")
        deployment.cut()
    await customer(deployment.account, "ro")


async def test_events_that_wait_for_a_lock_do_not_stop_those_of_others(deployment: Deployment) -> None:
    def event(id: str) -> dict[str, Any]:
        return {"event_name": "call", "external_customer_id": "c", "event_id": id, "properties": {}}

    with psycopg.connect(deployment.admin_url) as holder:
        await deployment.account.post("/events", event("same"), expect=202)
        holder.execute("SELECT 1 FROM events WHERE id = 'same' FOR UPDATE")
        changed = [
            asyncio.create_task(deployment.account.http.post("/events", json={**event("same"), "properties": {"n": n}}))
            for n in range(5)
        ]
        await deployment.until_waiting()
        assert (await deployment.stranger.http.post("/events", json=event("other"))).status_code == 202
        assert not any(request.done() for request in changed)
        holder.rollback()
        assert {answer.status_code for answer in await asyncio.gather(*changed)} == {202}


async def test_a_violated_check_is_an_error_of_ours_and_a_number_too_large_is_not(deployment: Deployment) -> None:
    with deployment.superuser() as admin:
        admin.execute("ALTER TABLE customers ADD CONSTRAINT ck_no_such_name CHECK (name <> 'Forbidden')")
    try:
        answer = await deployment.account.http.post("/customers", json={"external_id": "ck", "name": "Forbidden"})
    finally:
        with deployment.superuser() as admin:
            admin.execute("ALTER TABLE customers DROP CONSTRAINT ck_no_such_name")
    assert (answer.status_code, answer.json()["code"]) == (500, "database_error")
    assert "ck_no_such_name" not in answer.text
    with deployment.superuser() as admin:
        admin.execute(
            "CREATE FUNCTION overflow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM 10::numeric(1,0); RETURN NEW; END $$"
        )
        admin.execute("CREATE TRIGGER overflow BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION overflow()")
    try:
        answer = await deployment.account.http.post("/customers", json={"external_id": "of", "name": "C"})
    finally:
        with deployment.superuser() as admin:
            admin.execute("DROP FUNCTION overflow CASCADE")
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    assert "out of the range" in answer.json()["message"]
