"""Several processes that serve as one: seen from outside, killed, replaced and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from farthing.api.transport.bodies import MOST_KEPT_OF_TENANT, Kept, Memory
from farthing.api.transport.ratelimit import Limiter
from farthing.app import arranged
from farthing.core.errors import TooManyRequests
from farthing.identity.bootstrap import FirstStart
from farthing.serving.engine import engine
from farthing.serving.processes import demands_of, processes_for_this_machine
from farthing.serving.supervisor import serve_together
from farthing.settings import load
from farthing.storage.capacity import ConnectionGrant, TooFewConnections, demand_of, fitted_together
from farthing.storage.postgres import Database
from farthing.storage.tuning import usable_cores
from tests.ports import free_port
from tests.processes import ForkedProcess, farthing
from tests.waiting import PATIENCE_SECONDS

KEY = "sk_TESTTESTTESTTESTTESTTESTTEST"
BURST = 60


@dataclass(frozen=True)
class Group:
    """A supervisor with two servers and a worker."""

    supervisor: ForkedProcess
    port: int
    errors: Path | None = None
    """What it logs."""

    def client(self, key: str = KEY) -> httpx.Client:
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=PATIENCE_SECONDS)

    def processes(self) -> set[int]:
        """The processes below the supervisor: servers and worker."""
        return {child.pid for child in psutil.Process(self.supervisor.pid).children() if _runs(child)}

    def servers(self) -> set[int]:
        """Those that answer on fresh connections, of which there are enough to reach each of them."""
        with ExitStack() as stack:
            for _ in range(32):
                client = stack.enter_context(self.client())
                client.get("/health")
            return {pid for pid in self.processes() if _connections(pid, self.port)}


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _connections(pid: int, port: int) -> int:
    try:
        found = psutil.Process(pid).net_connections("tcp4")
    except psutil.NoSuchProcess:
        return 0
    return sum(connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port for connection in found)


@contextmanager
def _serving(folder: Path, url: str, **more: str) -> Iterator[Group]:
    port = int(more.pop("FARTHING_PORT", 0)) or free_port()
    environment = _environment(folder, url, port, **more)
    errors = folder / "errors"
    supervisor = farthing(["serve", "--processes", "2"], environment, errors=errors)
    group = Group(supervisor, port, errors)
    try:
        _until(lambda: supervisor.poll() is not None or len(_ready(group)) == 2)
        assert supervisor.poll() is None, errors.read_text()
        yield group
    finally:
        if supervisor.poll() is None:
            supervisor.kill()
        supervisor.wait(PATIENCE_SECONDS)


def _environment(folder: Path, url: str, port: int, **more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")},
        "FARTHING_DATA_DIR": str(folder),
        "FARTHING_DATABASE_URL": url,
        "FARTHING_SECRET_KEY": "a master key for tests only",
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_PORT": str(port),
        "FARTHING_LOG_LEVEL": "error",
        **more,
    }


def _ready(group: Group) -> set[int]:
    """The servers that answer, once the deployment says that it is ready."""
    with group.client() as client:
        try:
            if client.get("/health/ready").status_code != 200:
                return set()
        except httpx.TransportError:
            return set()
    return group.servers()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_as_many_processes_as_wanted_work_on_jobs(tmp_path: Path, new_database: Callable[..., str]) -> None:
    with _serving(tmp_path, new_database(), FARTHING_WORKER_PROCESSES="2") as group:
        assert len(group.processes() - group.servers()) == 2
        group.supervisor.terminate()
        assert group.supervisor.wait() == 0


@pytest.mark.slow
def test_two_processes_are_one_service(tmp_path: Path, new_database: Callable[..., str]) -> None:
    limits = {"FARTHING_RATE_LIMIT_PER_SECOND": "0.0001", "FARTHING_RATE_LIMIT_BURST": str(BURST)}
    with _serving(tmp_path, new_database(), **limits) as group:
        servers = group.servers()
        assert len(servers) == 2
        assert len(group.processes()) == 3, "two that serve and one that works"
        with group.client() as client:
            assert client.get("/health/ready").json()["worker"] == "ok"

        _what_is_acknowledged_outlives_a_killed_process(group, min(servers))
        _the_rate_of_a_key_is_counted_over_both(group, _new_key(group))
        _a_hangup_replaces_all_and_refuses_nobody(group)
        with _half_a_head(group) as unfinished:
            _only_http_1_is_spoken(group)
            _counts_add_up(group)
            assert unfinished.recv(1) == b"", "it is closed when its time is over"

        children = [psutil.Process(pid) for pid in group.processes()]
        group.supervisor.terminate()
        assert group.supervisor.wait(PATIENCE_SECONDS) == 0
        assert not [child for child in children if child.is_running()]


@contextmanager
def _half_a_head(group: Group) -> Iterator[socket.socket]:
    """A connection whose request never comes to its body."""
    with socket.create_connection(("127.0.0.1", group.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: farthing\r\n")
        yield connection


def _new_key(group: Group) -> str:
    with group.client() as client:
        made = client.post("/v1/secrets/api/keys", json={"name": "another", "type": "private_key"})
        assert made.status_code == 201, made.text
        key: str = made.json()["api_key"]
        return key


def _what_is_acknowledged_outlives_a_killed_process(group: Group, killed: int) -> None:
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(key: str) -> None:
        for number in range(BURST):
            if stop.is_set():
                return
            external_id = f"{key[-8:]}-{number}"
            with group.client(key) as client:
                try:
                    made = client.post("/v1/customers", json={"external_id": external_id, "name": "A"})
                except httpx.TransportError:
                    continue  # of the killed one: it may have been stored or not
            if made.status_code == 201:
                acknowledged.append(external_id)

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, _new_key(group)) for _ in range(2)]
        _until(lambda: len(acknowledged) > 5)
        os.kill(killed, signal.SIGKILL)
        before = len(acknowledged)
        _until(lambda: len(acknowledged) > before + 5)
        stop.set()
        for writer in writers:
            writer.result()
    with group.client(_new_key(group)) as client:
        found = [
            client.get(f"/v1/customers/external/{external_id}").status_code for external_id in acknowledged[:BURST]
        ]
        assert set(found) == {200}
    _until(lambda: len(group.servers()) == 2)
    assert killed not in group.servers()
    assert group.errors is not None
    (ended,) = [line for line in group.errors.read_text().splitlines() if "process.ended" in line]
    assert str(killed) in ended
    assert str(-signal.SIGKILL) in ended


def _the_rate_of_a_key_is_counted_over_both(group: Group, key: str) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(group.client(key)) for _ in range(16)]

        def ask(client: httpx.Client) -> list[int]:
            return [client.get("/v1/users/me").status_code for _ in range(8)]

        with ThreadPoolExecutor(len(clients)) as pool:
            statuses = [status for answered in pool.map(ask, clients) for status in answered]
        assert len([pid for pid in group.processes() if _connections(pid, group.port)]) == 2
    assert statuses.count(200) == BURST
    assert statuses.count(429) == len(statuses) - BURST


def _a_hangup_replaces_all_and_refuses_nobody(group: Group) -> None:
    before = group.processes()
    stop = threading.Event()

    def ask() -> list[int]:
        statuses = []
        while not stop.is_set():
            with group.client() as client:
                statuses.append(client.get("/health").status_code)
        return statuses

    def ask_late() -> list[int]:
        """As a client does that takes its time between connecting and asking."""
        statuses = []
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", group.port)) as connection:
                time.sleep(0.1)
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: farthing\r\nConnection: close\r\n\r\n")
                statuses.append(int(connection.makefile("rb").readline().split()[1]))
        return statuses

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask), *(pool.submit(ask_late) for _ in range(3))]
        group.supervisor.send_signal(signal.SIGHUP)
        try:
            _until(lambda: len(group.processes()) == 3 and not group.processes() & before)
        finally:
            stop.set()
        assert [set(each.result()) for each in asking] == [{200}] * 4
    assert len(group.servers()) == 2
    supervisor = psutil.Process(group.supervisor.pid)
    successors = [psutil.Process(pid) for pid in group.processes()]
    assert {each.ppid() for each in successors} == {supervisor.pid}
    assert {str(each.environ()) for each in successors} == {str(supervisor.environ())}, "they keep its settings"


def _only_http_1_is_spoken(group: Group) -> None:
    """A connection in HTTP/2 may say nothing for ever; the headers of one in HTTP/1 have their time."""
    with socket.create_connection(("127.0.0.1", group.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer


def _counts_add_up(group: Group) -> None:
    def counted() -> float:
        lines = client.get("/metrics").text.splitlines()
        wanted = 'farthing_http_requests_total{method="GET",route="/openapi.json",status="200"} '
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    with group.client() as client:
        before = counted()
        for _ in range(8):
            with group.client() as other:
                other.get("/openapi.json")
        assert [counted() for _ in range(3)] == [before + 8] * 3
        assert "process_resident_memory_bytes" not in client.get("/metrics").text, "it would be of one of them"


@pytest.mark.slow
def test_nothing_outlives_a_killed_supervisor(tmp_path: Path, new_database: Callable[..., str]) -> None:
    with _serving(tmp_path, new_database()) as group:
        children = [psutil.Process(pid) for pid in group.processes()]
        assert len(children) == 3
        group.supervisor.kill()
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
        assert not alive


@pytest.mark.slow
def test_a_killed_supervisor_is_started_again_at_once_whatever_its_processes_had_in_hand(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    url = new_database()
    with ThreadPoolExecutor() as pool, psycopg.connect(url) as locking:
        with _serving(tmp_path, url, FARTHING_LOCK_TIMEOUT_SECONDS="600") as group:
            locking.execute("LOCK TABLE customers")
            hanging = pool.submit(_post_customer, group)
            _until(lambda: _waits_for_a_lock(url))
            group.supervisor.kill()
            group.supervisor.wait()
        with _serving(tmp_path, url, FARTHING_PORT=str(group.port)):
            assert hanging.result() is None, "it was cut off"


@pytest.mark.slow
def test_one_that_dies_before_all_are_there_ends_the_start(tmp_path: Path, new_database: Callable[..., str]) -> None:
    environment = _environment(tmp_path, new_database(), free_port())
    supervisor = farthing(["serve", "--processes", "2"], environment)
    try:
        below = psutil.Process(supervisor.pid)
        _until(lambda: bool(below.children()))
        below.children()[0].kill()
        assert supervisor.wait(PATIENCE_SECONDS) not in {0, None}
    finally:
        if supervisor.poll() is None:
            supervisor.kill()


def _post_customer(group: Group) -> int | None:
    with group.client() as client:
        try:
            return client.post("/v1/customers", json={"external_id": "acme", "name": "Acme"}).status_code
        except httpx.TransportError:
            return None


def _waits_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())


def _is_written(file: Path) -> bool:
    return file.exists() and bool(file.read_text())


def _next_begun(folder: Path) -> int:
    """Note that this process began; how many had before it."""
    earlier = len(list(folder.glob("begun-*")))
    (folder / f"begun-{earlier}").write_text(str(os.getpid()))
    return earlier


def _serve_together(folder: Path) -> None:
    async def started(_database: Database, _first: FirstStart | None) -> None:
        if _next_begun(folder) == 0:
            await asyncio.Event().wait()
        (folder / "done").touch()

    settings = load(os.environ)
    with engine(settings, demands_of(settings, 1)) as postgres:
        serve_together(settings, 1, postgres, arranged, started)


@pytest.mark.slow
def test_what_a_server_begins_is_taken_up_by_its_successor_until_it_is_done(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    port = free_port()
    supervisor = ForkedProcess(_serve_together, tmp_path, environment=_environment(tmp_path, new_database(), port))
    group = Group(supervisor, port)
    try:
        for number in range(2):
            begun = tmp_path / f"begun-{number}"
            _until(partial(_is_written, begun))
            _until(lambda: len(_ready(group)) == 1)  # one that ends before all were ready would end the start
            os.kill(int(begun.read_text()), signal.SIGKILL)
            if number:
                assert (tmp_path / "done").exists()
        killed = int((tmp_path / "begun-1").read_text())
        _until(lambda: killed not in group.processes() and len(_ready(group)) == 1)
        assert not (tmp_path / "begun-2").exists()
    finally:
        supervisor.kill()
        supervisor.wait(PATIENCE_SECONDS)


def test_a_rate_is_counted_by_all_that_were_forked() -> None:
    limiter = Limiter(0.001, 5)
    limiter.take("a")
    for _ in range(2):
        child = os.fork()
        if child == 0:
            limiter.take("a")
            limiter.take("b")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    for _ in range(2):
        limiter.take("a")
    with pytest.raises(TooManyRequests):
        limiter.take("a")
    limiter.take("b")


def test_what_is_in_memory_counts_for_each_process() -> None:
    """What one keeps leaves its whole bound to another, unlike a rate."""
    memory = Memory()
    child = os.fork()
    if child == 0:
        memory.keep(Kept("a"), MOST_KEPT_OF_TENANT)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    memory.keep(Kept("a"), MOST_KEPT_OF_TENANT)
    with pytest.raises(TooManyRequests):
        memory.keep(Kept("a"), 1)


def test_connections_that_are_too_few_are_shared_out_or_refused() -> None:
    demands = [demand_of(20, works=False)] * 3 + [demand_of(20, works=True)]
    wanted, least = sum(each.total for each in demands), sum(each.least for each in demands)
    assert fitted_together(demands, ConnectionGrant(wanted + 5, "a test", 5)) == demands
    for free in range(least, wanted):
        sizes = fitted_together(demands, ConnectionGrant(free, "a test", 0))
        assert sum(size.total for size in sizes) <= free
        assert all(size.pool >= 2 and size.hot_reads >= 1 for size in sizes)
    with pytest.raises(TooFewConnections, match=f"4 processes want {wanted} and need at least {least}"):
        fitted_together(demands, ConnectionGrant(least - 1, "a test", 0))


def test_the_machine_decides_how_many_by_default() -> None:
    settings = load({})
    count = processes_for_this_machine(settings)
    assert 1 <= count <= min(usable_cores(), 8)
