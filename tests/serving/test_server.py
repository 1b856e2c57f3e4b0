"""The process as an operator knows it: start, stop, kill, and what the command line says."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests.ports import free_port
from tests.processes import ForkedProcess, farthing, run_farthing
from tests.serving.test_supervisor import _until, _waits_for_a_lock
from tests.waiting import PATIENCE_SECONDS

KEY = "sk_TESTTESTTESTTESTTESTTESTTEST"


def _environment(folder: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return {**clean, "FARTHING_DATA_DIR": str(folder), "FARTHING_BOOTSTRAP_API_KEY": KEY, **more}


@contextmanager
def _serving(folder: Path, **more: str) -> Iterator[tuple[ForkedProcess, httpx.Client]]:
    port = free_port()
    process = farthing(["serve"], _environment(folder, FARTHING_PORT=str(port), FARTHING_LOG_LEVEL="error", **more))
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=PATIENCE_SECONDS)
    try:
        _until_ready(client, process)
        yield process, client
    finally:
        client.close()
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_SECONDS)


def _until_ready(client: httpx.Client, process: ForkedProcess | subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready; exit status {process.poll()}")


def _postgres_of(process: ForkedProcess) -> psutil.Process:
    return next(child for child in psutil.Process(process.pid).children() if child.name().startswith("postgres"))


def _run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_farthing([*command], _environment(folder, **environment))


@pytest.mark.slow
def test_a_life_of_starts_kills_and_an_orderly_end(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with _serving(folder) as (process, client):
        made = client.post("/v1/customers", json={"external_id": "acme", "name": "Acme"})
        assert made.status_code == 201
        plans = [client.post("/v1/plans", json={"name": "Pro", "lookup_key": "pro"}).status_code for _ in range(2)]
        assert plans == [201, 409]
        assert "duplicate key" in (folder / "postgres.log").read_text()
        second = _run(folder, "doctor")
        assert second.returncode == 2
        assert "another Farthing is using the data folder" in second.stderr
        postgres = _postgres_of(process)
        process.kill()
        process.wait()
        gone, _ = psutil.wait_procs([postgres], timeout=PATIENCE_SECONDS)
        assert gone, "the engine must not outlive its parent"
    with _serving(folder) as (process, client):
        assert client.get("/v1/customers/external/acme").json()["id"] == made.json()["id"]
        _postgres_of(process).kill()
        deadline = time.monotonic() + 60
        while (answer := client.get("/v1/customers/external/acme")).status_code != 200:
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable"), answer.text
            assert "retry-after" in answer.headers
            assert time.monotonic() < deadline
            time.sleep(0.1)
        postgres = _postgres_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not postgres.is_running()
    subprocess.run(["cp", "-a", folder, tmp_path / "copy"], check=True)
    for stopped in (folder, tmp_path / "copy"):
        healthy = _run(stopped, "doctor")
        assert healthy.returncode == 0, healthy.stdout + healthy.stderr
        assert "differences     0" in healthy.stdout


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"FARTHING_NO_SUCH": "1"}, "FARTHING_NO_SUCH is not a setting"),
        ({"FARTHING_PORT": "many"}, "FARTHING_PORT"),
        ({"FARTHING_DATABASE_URL": "mysql://x"}, "must be a postgresql:// URL"),
        ({"FARTHING_DATABASE_URL": "postgresql://x"}, "FARTHING_SECRET_KEY is required"),
        ({"FARTHING_BOOTSTRAP_API_KEY": "pk_12345678901234567890"}, "must start with sk_"),
        ({"FARTHING_OPERATOR_KEYS": "{"}, "FARTHING_OPERATOR_KEYS"),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    refused = _run(tmp_path, "migrate", **environment)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_request_in_flight_is_answered_before_an_orderly_end(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    url = new_database()
    given = {"FARTHING_DATABASE_URL": url, "FARTHING_SECRET_KEY": "a master key for tests only"}
    patient = {"FARTHING_LOCK_TIMEOUT_SECONDS": "600", "FARTHING_STATEMENT_TIMEOUT_SECONDS": "600"}
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(url) as holder,
        _serving(tmp_path, **given, **patient) as (process, client),
    ):
        holder.execute("LOCK TABLE customers IN SHARE MODE")
        asked = pool.submit(client.post, "/v1/customers", json={"external_id": "acme", "name": "Acme"})
        _until(lambda: _waits_for_a_lock(url))
        process.send_signal(signal.SIGTERM)
        _until(lambda: _is_refused(client.base_url))
        holder.rollback()
        assert asked.result().status_code == 201
        assert process.wait(PATIENCE_SECONDS) == 0


def _is_refused(url: httpx.URL) -> bool:
    try:
        httpx.get(url.join("/health"), timeout=1)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        pass
    return False


@pytest.mark.slow
def test_keys_are_made_listed_and_revoked(tmp_path: Path, new_database: Callable[..., str]) -> None:
    given = {"FARTHING_DATABASE_URL": new_database(), "FARTHING_SECRET_KEY": "a master key for tests only"}
    with _serving(tmp_path, **given) as (_, client):
        key = _run(tmp_path, "keys", "create", "laptop", **given).stdout.split()[-1]
        assert key.startswith("sk_")
        assert client.get("/v1/customers", headers={"x-api-key": key}).status_code == 200
        listed = _run(tmp_path, "keys", "list", **given).stdout
        assert "laptop" in listed
        assert key not in listed
        row = next(line for line in listed.splitlines() if "laptop" in line)
        id = next(word for word in row.replace("│", " ").split() if word.startswith("secret_"))
        assert _run(tmp_path, "keys", "revoke", id, **given).returncode == 0
        assert _run(tmp_path, "keys", "revoke", "secret_unknown", **given).returncode == 1
        _until_status(client, key, 401)
        assert client.get("/v1/customers").status_code == 200


def _until_status(client: httpx.Client, key: str, status: int) -> None:
    """What another process does to a key is known here a moment later."""
    deadline = time.monotonic() + 60
    while client.get("/v1/customers", headers={"x-api-key": key}).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_the_openapi_document_is_printed_without_a_database(tmp_path: Path) -> None:
    printed = _run(tmp_path, "openapi")
    assert printed.returncode == 0
    assert '"getCustomerInvoiceSummary"' in printed.stdout
    assert list(tmp_path.iterdir()) == []
