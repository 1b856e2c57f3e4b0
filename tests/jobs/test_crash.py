"""Workers as real processes that are killed or frozen in the middle of duties, and a PostgreSQL that restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from rich.console import Console

from farthing.backup.export import back_up
from farthing.backup.load import restore
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import free_port, running, settings_for
from tests.identity.conftest import person
from tests.jobs import quick_process
from tests.processes import ForkedProcess
from tests.waiting import PATIENCE_SECONDS

SECRET = "a master key for tests only"
IN_HAND = ("subscription_billing", "meter_backfill", "environment_clone")
BLOCKED = ("subscriptions", "meter_backfills", "plans")
"""The table that each of them cannot do without."""


@contextmanager
def farthing(url: str, command: str, output: Path | None = None, **settings: str) -> Iterator[ForkedProcess]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    own = {"FARTHING_DATABASE_URL": url, "FARTHING_SECRET_KEY": SECRET, "FARTHING_LOG_LEVEL": "error"}
    process = ForkedProcess(quick_process.main, command, environment={**clean, **own, **settings}, output=output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def until(condition: Callable[[], Any], seconds: float = 180) -> Any:
    """Long enough for processes that start on a busy machine; what has to be quick is measured apart."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def rows(url: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT set_config('farthing.tenant_id', '*', false)")
        return connection.execute(query, arguments).fetchall()


def queue(url: str, task: str, queue_name: str, lock: str, arguments: str = '{"timestamp": 1}') -> None:
    """As the queue's own schedule does, at a time of the test's choosing."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (queue_name, task, lock, lock if queue_name == "default" else None, arguments),
        )


def in_hand(url: str) -> set[str]:
    return {name for (name,) in rows(url, "SELECT task_name FROM procrastinate_jobs WHERE status = 'doing'")}


def succeeded(url: str, name: str) -> int:
    query = "SELECT count(*) FROM job_runs WHERE name = %s AND finished_at IS NOT NULL AND error IS NULL"
    return int(rows(url, query, name)[0][0])


def succeeded_again(url: str, name: str, before: int) -> bool:
    return succeeded(url, name) > before


def waiting_for_tables(url: str) -> set[str]:
    query = (
        "SELECT relation::regclass::text FROM pg_locks "
        "WHERE NOT granted AND locktype = 'relation' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return {name for (name,) in rows(url, query)}


@contextmanager
def tables_locked(url: str) -> Iterator[None]:
    """Whoever needs these tables waits, and so is certainly in the middle of what it does."""
    with psycopg.connect(url) as connection:
        for table in BLOCKED:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def _an_environment(url: str) -> None:
    """Without one a duty of billing has nothing to do."""
    database, settings = Database(url, wire()), settings_for(url, secret_key=SECRET)
    async with Account("http://nowhere", settings, database):
        pass
    await database.close()


async def _account_with_a_clone_queued(url: str) -> None:
    """A tenant with two environments, and a copy from one to the other that is to be made."""
    database, settings = Database(url, wire()), settings_for(url, secret_key=SECRET)
    async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
        target = await account.new_environment()
        await account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
        path = f"/environments/{account.environment_id}/clone"
        async with await person(account) as in_charge:
            answer = await in_charge.post(path, json={"target_environment_id": target})
        assert answer.status_code == 202, answer.text
    await database.close()


@pytest.mark.slow
async def test_duties_killed_in_the_middle_are_taken_up_by_another_worker(new_database: Callable[..., str]) -> None:
    url = new_database()
    await _account_with_a_clone_queued(url)
    for name in IN_HAND[:2]:
        queue(url, name, "default", name)
    with tables_locked(url):
        with farthing(url, "worker") as killed:
            until(lambda: set(BLOCKED) <= waiting_for_tables(url))
            assert set(IN_HAND) <= in_hand(url)
            killed.kill()
            killed.wait()
        assert set(IN_HAND) <= in_hand(url), "the queue believes that they run"
        before = {name: succeeded(url, name) for name in IN_HAND}
    with farthing(url, "worker"):
        until(lambda: lively_workers(url) >= 1)
        for name in IN_HAND:
            until(partial(succeeded_again, url, name, before[name]))
    cloned = "SELECT counts['plans_cloned'] FROM job_runs WHERE name = 'environment_clone'"
    assert rows(url, cloned) == [(1,)]


@pytest.mark.slow
async def test_work_that_was_in_the_queue_of_a_backup_is_done_after_the_restore(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    url = new_database()
    await _account_with_a_clone_queued(url)
    queue(url, IN_HAND[0], "default", IN_HAND[0])
    with tables_locked(url), farthing(url, "worker") as killed:
        until(lambda: waiting_for_tables(url) >= {"subscriptions", "plans"})
        killed.kill()
        killed.wait()
    queue(url, IN_HAND[1], "default", IN_HAND[1])
    in_the_queue = "SELECT task_name, status::text FROM procrastinate_jobs WHERE task_name = ANY(%s) ORDER BY 1"
    waiting = rows(url, in_the_queue, list(IN_HAND))
    assert set(waiting) >= {(IN_HAND[0], "doing"), (IN_HAND[1], "todo"), (IN_HAND[2], "doing")}

    back_up(settings_for(url, secret_key=SECRET), tmp_path / "backup", Console(quiet=True))
    restored = new_database(migrated=False)
    await asyncio.to_thread(
        restore, settings_for(restored, secret_key=SECRET), tmp_path / "backup", Console(quiet=True)
    )
    assert rows(restored, in_the_queue, list(IN_HAND)) == waiting
    before = {name: succeeded(restored, name) for name in IN_HAND}
    with farthing(restored, "worker"):
        for name in IN_HAND:
            until(partial(succeeded_again, restored, name, before[name]))
    cloned = "SELECT counts['plans_cloned'] FROM job_runs WHERE name = 'environment_clone'"
    assert rows(restored, cloned) == [(1,)]


@pytest.mark.slow
async def test_a_frozen_worker_loses_its_duty_and_does_not_go_on_when_it_wakes_up(
    new_database: Callable[..., str],
) -> None:
    url = new_database()
    await _account_with_a_clone_queued(url)
    queue(url, "subscription_billing", "default", "subscription_billing")
    with farthing(url, "worker") as frozen:
        with tables_locked(url):
            until(lambda: "subscriptions" in waiting_for_tables(url))
            frozen.send_signal(signal.SIGSTOP)
            (first,) = rows(url, "SELECT id FROM job_runs WHERE name = 'subscription_billing' AND finished_at IS NULL")
            with psycopg.connect(url, autocommit=True) as connection:
                # as if half a minute had passed
                connection.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '40 seconds'")
        with farthing(url, "worker"):
            until(lambda: succeeded(url, "subscription_billing"))
            frozen.send_signal(signal.SIGCONT)
            reason = "SELECT error FROM job_runs WHERE id = %s AND finished_at IS NOT NULL"
            ((error,),) = until(lambda: rows(url, reason, *first))
            assert "taken from it" in error or "ended before" in error
            # it is a worker again, with a number of its own
            until(lambda: lively_workers(url) >= 2)
            assert frozen.poll() is None


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of its own, to be restarted."""
    server = EmbeddedPostgres(tmp_path / "data", {"fsync": "off"})
    server.start()
    yield server
    server.stop()


class Served:
    """What a process that serves says of itself."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS)

    def readiness(self) -> tuple[int, dict[str, Any]]:
        try:
            answer = self.http.get("/health/ready")
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def works(self) -> bool:
        status, body = self.readiness()
        return status == 200 and body["worker"] == "ok"

    def is_unavailable(self) -> dict[str, Any] | None:
        status, body = self.readiness()
        return body if status == 503 else None


@contextmanager
def served_and_worked(url: str) -> Iterator[tuple[Served, list[ForkedProcess]]]:
    """A process that serves and works, and one that works only, when both are at work."""
    port = free_port()
    served = Served(port)
    with farthing(url, "serve", FARTHING_PORT=str(port)) as serving, farthing(url, "worker") as working, served.http:
        until(served.works)
        until(lambda: lively_workers(url) >= 2)
        yield served, [serving, working]


def lively_workers(url: str) -> int:
    """How many processes work. Each has three workers, and for a moment more when one has begun again.

    They are alive for as long as they are to each other: on a busy machine a sign of life comes late.
    """
    query = "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %s)"
    return int(rows(url, query, quick_process.PACE.stale_seconds)[0][0]) // 3


def ended(process: ForkedProcess) -> bool:
    return process.poll() is not None


def killed_and_revived(postgres: EmbeddedPostgres) -> None:
    """As the watch over an embedded server does: the first attempts fail while backends of the dead one live."""
    os.kill(postgres.process_id, signal.SIGKILL)
    until(postgres.revive)

    def answers() -> bool:
        postgres.revive()
        try:
            return rows(postgres.url(), "SELECT 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    until(answers)


def stopped_and_started(postgres: EmbeddedPostgres, served: Served) -> None:
    postgres.stop()
    body = until(served.is_unavailable)
    assert (body["status"], body["database"]) == ("unavailable", "unavailable")
    postgres.start()


@pytest.mark.slow
def test_workers_go_on_after_postgres_restarts_and_readiness_says_how_it_is(postgres: EmbeddedPostgres) -> None:
    url = postgres.url()
    upgrade(url)
    with served_and_worked(url) as (served, processes):
        for fault in (lambda: stopped_and_started(postgres, served), lambda: killed_and_revived(postgres)):
            fault()
            # works, and not still: the parts of a worker notice at different times
            until(lambda: served.works() and lively_workers(url) >= 2)
            before = succeeded(url, "meter_backfill")
            queue(url, "meter_backfill", "default", "meter_backfill")
            until(partial(succeeded_again, url, "meter_backfill", before))
            until(lambda: "farthing_worker_up 1.0" in served.http.get("/metrics").text)
            assert not any(ended(process) for process in processes)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait() for process in processes] == [0, 0]


@pytest.mark.slow
def test_a_signal_ends_serving_and_working_while_postgres_is_away(postgres: EmbeddedPostgres) -> None:
    url = postgres.url()
    upgrade(url)
    with served_and_worked(url) as (served, processes):
        postgres.stop()
        until(served.is_unavailable)
        for process in processes:
            process.send_signal(signal.SIGINT)
        assert [process.wait() for process in processes] == [0, 0]


@pytest.mark.slow
async def test_a_signal_ends_a_worker_in_the_middle_of_a_duty(new_database: Callable[..., str]) -> None:
    url = new_database()
    await _an_environment(url)
    with farthing(url, "worker") as working, tables_locked(url):
        queue(url, "subscription_billing", "default", "subscription_billing")
        until(lambda: "subscriptions" in waiting_for_tables(url))
        working.send_signal(signal.SIGTERM)
        assert working.wait() == 0
    interrupted = "SELECT error FROM job_runs WHERE name = 'subscription_billing'"
    assert rows(url, interrupted) == [("its process ended before it did",)]
    assert in_hand(url) == set()


@pytest.mark.slow
def test_a_signal_ends_a_process_that_is_stuck(new_database: Callable[..., str], tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    printed.touch()
    with farthing(new_database(), "stuck", printed) as stuck:
        until(lambda: "stuck\n" in printed.read_text())
        stuck.send_signal(signal.SIGTERM)
        assert stuck.wait() == 1
    (cut_off,) = [line for line in printed.read_text().splitlines() if "stop.cut_off" in line]
    assert "critical" in cut_off
