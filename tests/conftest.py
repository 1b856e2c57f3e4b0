"""What tests stand on: one real PostgreSQL per run, one real HTTP server per worker, a fresh tenant per test.

Tests of one worker share a database and never meet: each makes its own tenant, and row-level security does the rest.
"""

from __future__ import annotations

import asyncio
import compileall
import gc
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from argon2 import PasswordHasher
from granian.constants import Interfaces
from granian.server.embed import Server
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from litestar import Litestar
from psycopg import sql

import farthing
from farthing import logs
from farthing.app import arranged, create_app
from farthing.identity.sign_in import passwords
from farthing.settings import Settings
from farthing.storage.embedded import ROLE, EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.ports import free_port
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["free_port", "running", "settings_for"]

# durability is what crash tests are about; everything else may run without waiting for the disk
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "1000",  # each worker has the pools of several servers
    "autovacuum_naptime": "5min",  # each of some hundred databases is looked at once in that time
}
_TEMPLATE = "farthing_template"


gc.set_threshold(50_000, 20, 20)  # as the command does; the servers of tests run in this process
sys.dont_write_bytecode = False  # or every run compiles all tests again


def _start_postgres(config: pytest.Config) -> str:
    """The run's PostgreSQL, started once by whoever asks first in the main process."""
    if not hasattr(config, "farthing_postgres"):
        folder = tempfile.mkdtemp(prefix="farthing-test-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))  # runs last, after the server stopped
        server = EmbeddedPostgres(Path(folder) / "data", _FAST)
        server.start()
        config.add_cleanup(server.stop)
        upgrade(server.url())
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
            rename = sql.SQL("ALTER DATABASE farthing RENAME TO {}")
            connection.execute(rename.format(sql.Identifier(_TEMPLATE)))
        config.farthing_postgres = server  # type: ignore[attr-defined]
    return str(config.farthing_postgres.sockets)  # type: ignore[attr-defined]


def pytest_configure(config: pytest.Config) -> None:
    """Trust no certificate authority: what tests talk to is on this machine and speaks plain HTTP.

    Every HTTP client reads its authorities when it is made, and reading the usual bundle takes longer than most tests.
    The processes that tests start, some hundreds, find compiled modules also where Python is told to write none.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(farthing.__file__).parent, quiet=2, workers=0)
    folder = tempfile.mkdtemp(prefix="farthing-no-authorities-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ.pop("SSL_CERT_FILE", None)  # clients look at it first
    os.environ["SSL_CERT_DIR"] = folder


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep what collecting makes out of every garbage collection, now and later: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures it uses, so that `-m database` and `-m browser` choose; the slow come first."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "sockets" in fixtures:
            item.add_marker(pytest.mark.database)
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
    # one worker begins with the long ones while the others do the rest, so that none is left for the end
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the run's PostgreSQL, unless the run is of what needs none."""
    if "not database" not in node.config.option.markexpr:
        node.workerinput["sockets"] = _start_postgres(node.config)


_COSTLY_PASSWORDS = {name: getattr(passwords, name) for name in ("_hasher", "NOBODY")}


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """A hash takes no time, where it is not the test's subject that it does."""
    with pytest.MonkeyPatch.context() as patch:
        hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(passwords, "_hasher", hasher)
        patch.setattr(passwords, "NOBODY", hasher.hash("nobody has this password"))
        yield


@pytest.fixture
def costly_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords as they are hashed outside the tests."""
    for name, value in _COSTLY_PASSWORDS.items():
        monkeypatch.setattr(passwords, name, value)


@pytest.fixture(scope="session")
def sockets(pytestconfig: pytest.Config) -> str:
    """The folder of the run's PostgreSQL socket."""
    worker: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    return worker["sockets"] if worker else _start_postgres(pytestconfig)


@pytest.fixture(scope="session")
def new_database(sockets: str) -> Callable[..., str]:
    """Makes databases: `new_database()` is migrated and empty, `new_database(migrated=False)` holds nothing.

    They go with the run's PostgreSQL: dropping each would take a checkpoint and the deletion of a thousand files.
    """
    admin = f"postgresql://postgres@/postgres?host={sockets}"

    def make(*, migrated: bool = True) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        # by copying its files, which takes a quarter of what logging all its pages takes
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(_TEMPLATE if migrated else "template0"), sql.Identifier(ROLE)
        )
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(1)")  # one copy of the template at a time
            connection.execute(statement)
        return f"postgresql://{ROLE}@/{name}?host={sockets}"

    return make


@pytest.fixture(scope="session")
def database_url(new_database: Callable[..., str]) -> str:
    """This worker's database."""
    return new_database()


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    """This worker's database, as the application's role."""
    database = Database(database_url, wire(), pool_size=20)
    yield database
    await database.close()


_PATIENT: dict[str, Any] = {
    "connection_wait_seconds": PATIENCE_SECONDS,
    "lock_timeout_seconds": PATIENCE_SECONDS,
    "statement_timeout_seconds": 5 * PATIENCE_SECONDS,
    "idle_transaction_timeout_seconds": 5 * PATIENCE_SECONDS,
}
"""Requests that are sent at once wait for one another for longer, on a busy machine, than anybody should elsewhere."""


@pytest.fixture(scope="module")
def plain_logs() -> Iterator[None]:
    """Errors alone, in plain lines: stacks with every value in them take seconds to write. Others log as before."""
    before = structlog.get_config()
    logs.configure(Settings(log_format="json", log_level="error"))
    yield
    structlog.configure(**before)


def settings_for(url: str, **given: Any) -> Settings:
    """Settings of a server for tests, with patience; what is about a limit gives its own."""
    values: dict[str, Any] = {"port": free_port(), "secret_key": "a master key for tests only", "access_log": False}
    return Settings(database_url=url, **{**values, **_PATIENT, **given})


async def _answers(settings: Settings, serving: asyncio.Task[None]) -> bool:
    if serving.done():
        serving.result()
    with socket.socket() as probe:
        return probe.connect_ex((settings.host, settings.port)) == 0


_FREE_ROUTES: list[Litestar] = []
"""Arranged for an application that has ended. Arranging them takes as long as two hundred requests."""


@asynccontextmanager
async def running(settings: Settings, database: Database) -> AsyncIterator[str]:
    """A real HTTP server in this event loop; yields its base URL."""
    routes = _FREE_ROUTES.pop() if _FREE_ROUTES else arranged()
    app = create_app(settings, database, routes=routes)
    server = Server(app, address=settings.host, port=settings.port, interface=Interfaces.ASGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: _answers(settings, serving))
        yield f"http://{settings.host}:{settings.port}"
    finally:
        server.stop()
        await serving
        _FREE_ROUTES.append(routes)


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(database_url, export_dir=str(tmp_path_factory.mktemp("exports")))


@pytest.fixture(scope="session")
async def base_url(settings: Settings, database: Database) -> AsyncIterator[str]:
    """The worker's HTTP server."""
    async with running(settings, database) as url:
        yield url


@pytest.fixture
async def account(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Account]:
    """A fresh tenant with a sandbox and a full API key, and a client that uses it."""
    async with Account(base_url, settings, database) as account:
        yield account


@pytest.fixture
async def alone(new_database: Callable[..., str], tmp_path: Path) -> AsyncIterator[Account]:
    """A deployment of its own, with one tenant: what goes through all environments finds no other test's."""
    settings = settings_for(new_database(), export_dir=str(tmp_path))
    database = Database(settings.database_url or "", wire())
    async with running(settings, database) as url, Account(url, settings, database) as account:
        yield account
    await database.close()


@pytest.fixture
async def stranger(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Account]:
    """Another tenant, who must never see anything of `account`'s."""
    async with Account(base_url, settings, database) as account:
        yield account


# a run tries the same examples as the one before, and takes no offence at how long they take on a busy machine;
# FARTHING_EXPLORE=1 tries others each time. What an example makes has names of its own, so a fixture serves them all
hypothesis_settings.register_profile(
    "farthing",
    deadline=None,
    derandomize=not os.environ.get("FARTHING_EXPLORE"),
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("farthing")

os.environ.setdefault("FARTHING_LOG_LEVEL", "error")
# the default draws every local variable of every frame, which takes seconds
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
