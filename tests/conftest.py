"""What tests stand on: one real PostgreSQL per run, one real HTTP server per worker, a fresh tenant per test.

Tests of one worker share a database and never meet: each makes its own tenant, and row-level security does the rest.

The application is loaded where it is used: the process that starts the workers, which would wait for it, never does.
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
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.internal.conjecture import providers
from psycopg import sql

import farthing
from farthing import logs
from farthing.identity.sign_in import passwords
from farthing.settings import Settings
from farthing.storage.embedded import ROLE, EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from tests.ports import free_port
from tests.scratch import scratch
from tests.thorough import QUICK, THOROUGH, few_examples
from tests.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from litestar import Litestar

    from tests.account import Account

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


def _run_postgres(config: pytest.Config) -> EmbeddedPostgres:
    """The run's PostgreSQL, in the main process; `_start` starts it."""
    if not hasattr(config, "farthing_postgres"):
        folder = tempfile.mkdtemp(prefix="farthing-test-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))  # runs last, after the server stopped
        config.farthing_postgres = EmbeddedPostgres(Path(folder) / "data", _FAST)  # type: ignore[attr-defined]
    server: EmbeddedPostgres = config.farthing_postgres  # type: ignore[attr-defined]
    return server


def _start(server: EmbeddedPostgres, config: pytest.Config) -> None:
    """Start it, with the template in it, and say so to the workers."""
    server.start()
    config.add_cleanup(server.stop)
    upgrade(server.url())
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        rename = sql.SQL("ALTER DATABASE farthing RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(_TEMPLATE)))
    _is_started(server).touch()


def _is_started(server: EmbeddedPostgres) -> Path:
    """The file that is there once it is."""
    return server.folder.parent / "started"


def pytest_configure(config: pytest.Config) -> None:
    """Trust no certificate authority: what tests talk to is on this machine and speaks plain HTTP.

    Every HTTP client reads its authorities when it is made, and reading the usual bundle takes longer than most tests.
    The processes that tests start, some hundreds, find compiled modules also where Python is told to write none.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(farthing.__file__).parent, quiet=2)
    config.add_cleanup(lambda: shutil.rmtree(scratch(), ignore_errors=True))
    authorities = scratch() / "no-authorities"
    authorities.mkdir()
    os.environ.pop("SSL_CERT_FILE", None)  # clients look at it first
    os.environ["SSL_CERT_DIR"] = str(authorities)


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
        if QUICK:
            _try_few_examples(item)
    # one worker begins with the long ones while the others do the rest, so that none is left for the end
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _try_few_examples(item: pytest.Item) -> None:
    """Bound the examples of a property, whatever its decorators say; the library keeps its settings there."""
    function = getattr(item, "function", None)
    own: hypothesis_settings | None = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None:
        few = hypothesis_settings(own, max_examples=few_examples(own.max_examples))
        function._hypothesis_internal_use_settings = few  # type: ignore[union-attr]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each xdist worker where the run's PostgreSQL will be, unless the run is of what needs none."""
    if "not database" not in node.config.option.markexpr:
        server = _run_postgres(node.config)
        node.workerinput |= {"sockets": str(server.sockets), "is_started": str(_is_started(server))}


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, Any, Any]:
    """Start the run's PostgreSQL once its workers are under way: they collect the tests meanwhile."""
    result = yield
    server: EmbeddedPostgres | None = getattr(session.config, "farthing_postgres", None)
    if server is not None:
        _start(server, session.config)
    return result


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
    if not worker:
        server = _run_postgres(pytestconfig)
        _start(server, pytestconfig)
        return str(server.sockets)
    deadline = time.monotonic() + 3 * PATIENCE_SECONDS
    while not Path(worker["is_started"]).exists():
        assert time.monotonic() < deadline, "the run's PostgreSQL has not started"
        time.sleep(0.02)
    return worker["sockets"]


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
    from farthing.wiring import wire

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
    from granian.constants import Interfaces
    from granian.server.embed import Server

    from farthing.app import arranged, create_app
    from farthing.serving.listener import BACKLOG

    routes = _FREE_ROUTES.pop() if _FREE_ROUTES else arranged()
    app = create_app(settings, database, routes=routes)
    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        backlog=BACKLOG,  # as the command has it: with the usual 128 the next connection waits until one is given up
        log_enabled=False,
    )
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
    from tests.account import Account

    async with Account(base_url, settings, database) as account:
        yield account


@pytest.fixture
async def alone(new_database: Callable[..., str], tmp_path: Path) -> AsyncIterator[Account]:
    """A deployment of its own, with one tenant: what goes through all environments finds no other test's."""
    from farthing.wiring import wire
    from tests.account import Account

    settings = settings_for(new_database(), export_dir=str(tmp_path))
    database = Database(settings.database_url or "", wire())
    async with running(settings, database) as url, Account(url, settings, database) as account:
        yield account
    await database.close()


@pytest.fixture
async def stranger(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Account]:
    """Another tenant, who must never see anything of `account`'s."""
    from tests.account import Account

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
if not (THOROUGH or os.environ.get("FARTHING_EXPLORE")):
    # the library mixes in constants of whatever modules are loaded: which those are depends on the tests before, so
    # that a property would try other examples in another worker; and to read them takes each worker seconds
    providers._get_local_constants = lambda: providers._local_constants

os.environ.setdefault("FARTHING_LOG_LEVEL", "error")
# the default draws every local variable of every frame, which takes seconds
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
