"""Connections wanted against connections granted: by arithmetic, and by a real server that grants few."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from rich.console import Console

from farthing.doctor.examination import examine
from farthing.health import Health
from farthing.serving.engine import Engine
from farthing.serving.server import opened
from farthing.storage.capacity import ConnectionGrant, Demand, TooFewConnections, demand_of, fitted, granted
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.serving.test_server import _run
from tests.waiting import PATIENCE_SECONDS

MOST = 20
RESERVED = 3


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        pytest.param(100, (20, 10, 10), id="enough for all"),
        pytest.param(54, (20, 10, 10), id="exactly enough"),
        pytest.param(34, (14, 0, 6), id="the overflow goes first, then both pools shrink"),
        pytest.param(17, (2, 0, 1), id="the least"),
    ],
)
def test_pools_are_made_to_fit(free: int, expected: tuple[int, int, int]) -> None:
    demand = demand_of(20, works=True)
    assert demand.total == 54
    sizes = fitted(demand, ConnectionGrant(free + 5, "max_connections", in_use=5))
    assert (sizes.pool, sizes.overflow, sizes.hot_reads) == expected
    assert sizes.total <= free
    assert sizes.fixed == demand.fixed


def test_below_the_least_the_start_is_refused_with_what_to_set() -> None:
    with pytest.raises(TooFewConnections) as refused:
        fitted(demand_of(20, works=True), ConnectionGrant(20, "max_connections less what is reserved", in_use=8))
    for part in ("grants 20", "8 are in use", "wants 54", "at least 17", "by 42", "FARTHING_POOL_SIZE"):
        assert part in str(refused.value)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    settings = {
        "fsync": "off",
        "shared_buffers": "64MB",
        "max_connections": str(MOST),
        "superuser_reserved_connections": str(RESERVED),
    }
    with EmbeddedPostgres(tmp_path_factory.mktemp("small") / "data", settings) as server:
        yield server


@pytest.mark.database
def test_the_tightest_of_the_servers_the_roles_and_the_databases_limit_is_found(small_server: EmbeddedPostgres) -> None:
    url = small_server.url()
    assert granted(url) == ConnectionGrant(MOST - RESERVED, "max_connections less what is reserved", in_use=0)
    with (
        psycopg.connect(small_server.url("postgres", "postgres"), autocommit=True) as admin,
        psycopg.connect(url),
    ):
        assert granted(url).in_use == 2
        admin.execute("ALTER ROLE farthing CONNECTION LIMIT 7")
        assert granted(url) == ConnectionGrant(7, "the role's CONNECTION LIMIT", in_use=1)
        admin.execute("ALTER ROLE farthing CONNECTION LIMIT -1")
        admin.execute("ALTER DATABASE farthing CONNECTION LIMIT 5")
        assert granted(url) == ConnectionGrant(5, "the database's CONNECTION LIMIT", in_use=1)
        admin.execute("ALTER DATABASE farthing CONNECTION LIMIT -1")


@pytest.mark.database
async def test_a_server_that_grants_few_serves_every_summary(small_server: EmbeddedPostgres) -> None:
    """The pools are made to fit; then connections are taken away, and reads go on with what is left."""
    engine = Engine(small_server.url())
    settings = settings_for(engine.url, worker=False)
    demand = demand_of(settings.pool_size, works=False)
    async with (
        opened(settings, engine, demand) as database,
        running(settings, database) as base_url,
        Account(base_url, settings, database) as account,
    ):
        made = await account.post("/customers", {"external_id": "c", "name": "C"})
        path = f"/customers/{made['id']}/invoices/summary"
        # before the first hot read: somebody else holds nearly everything
        others = [psycopg.connect(engine.url) for _ in range(granted(engine.url).free - 1)]
        try:
            assert await _statuses(account, path, 96) == {200: 96}
            async with httpx.AsyncClient(base_url=base_url) as anonymous:
                assert (await anonymous.get("/health/ready")).status_code == 200
        finally:
            for other in others:
                other.close()
        assert await _statuses(account, path, 96) == {200: 96}


async def _statuses(account: Account, path: str, how_many: int) -> dict[int, int]:
    answers = await asyncio.gather(*(account.http.get(path) for _ in range(how_many)))
    return dict(Counter(answer.status_code for answer in answers))


async def test_the_doctor_says_that_the_server_grants_too_few(small_server: EmbeddedPostgres, tmp_path: Path) -> None:
    engine = Engine(small_server.url())
    settings = settings_for(engine.url)
    with (tmp_path / "said").open("w") as file:
        async with opened(settings, engine) as database:
            assert await examine(settings, database, Console(file=file, width=400)) == 1
    said = (tmp_path / "said").read_text()
    assert f"connections     TOO FEW: PostgreSQL grants {MOST - RESERVED} connections" in said


@pytest.mark.slow
def test_serving_is_refused_in_one_sentence_where_too_few_are_granted(
    small_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with psycopg.connect(small_server.url("postgres", "postgres"), autocommit=True) as admin:
        admin.execute("ALTER ROLE farthing CONNECTION LIMIT 6")
        try:
            refused = _run(
                tmp_path, "serve", FARTHING_DATABASE_URL=small_server.url(), FARTHING_SECRET_KEY="a key for tests only"
            )
        finally:
            admin.execute("ALTER ROLE farthing CONNECTION LIMIT -1")
    assert refused.returncode == 2, refused.stderr
    assert "PostgreSQL grants 6 connections (the role's CONNECTION LIMIT)" in refused.stderr
    assert "needs at least 17" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_health_says_no_in_time_and_yes_when_the_server_is_back(small_server: EmbeddedPostgres) -> None:
    database = Database(small_server.url(), wire(), pool_size=1)
    now = database.clock.now()
    health = Health(database, (), None, started_at=now, fresh_seconds=0, answer_seconds=PATIENCE_SECONDS)
    assert (await health.report())[0]
    with psycopg.connect(small_server.url("postgres", "postgres"), autocommit=True) as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
            [database.application_name],
        )
    assert (await health.report())[0], "a connection cut while idle is replaced"
    await database.close()
    nowhere = Database("postgresql://farthing@/nothing?host=/nowhere", wire(), pool_size=1)
    is_ready, body = await Health(nowhere, (), None, started_at=nowhere.clock.now()).report()
    assert not is_ready
    assert body["database"] == "unavailable"


def test_a_demand_names_what_it_cannot_do_without() -> None:
    assert Demand(20).least == 2 + 1 + 5
