"""When a duty counts as overdue or missed, and what readiness makes of it."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from rich.console import Console
from sqlalchemy import text

from farthing.doctor.examination import examine_duties
from farthing.health import MEASURED, Health
from farthing.jobs.duties.command import print_standings
from farthing.jobs.duties.duty import Counts, Duty, perform
from farthing.jobs.duties.schedule import duties
from farthing.jobs.duties.standing import DutyStanding, read_queue, read_standings
from farthing.jobs.workers.pace import WorkerState
from farthing.jobs.workers.recovery import is_missed
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import settings_for
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.usefixtures("plain_logs")

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
EVERY_TWO = DutyStanding(
    name="billing",
    cron="*/2 * * * *",
    limit=timedelta(hours=1),
    period=timedelta(minutes=2),
    last_tick=NOON - timedelta(seconds=30),
    next_run=NOON + timedelta(seconds=90),
    due_since=None,
    running=False,
    waiting=False,
    started_at=NOON - timedelta(minutes=2, seconds=30),
    finished_at=NOON - timedelta(minutes=2, seconds=29),
    error=None,
    failed_items=0,
    without_rate=0,
    succeeded_at=NOON - timedelta(minutes=2, seconds=29),
    failures=0,
)
DAILY = replace(EVERY_TWO, period=timedelta(days=1))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


@pytest.mark.parametrize(
    ("standing", "overdue"),
    [
        pytest.param(EVERY_TWO, False, id="a success is there"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(9)), False, id="nine minutes late"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(11)), True, id="eleven minutes late"),
        pytest.param(replace(DAILY, due_since=NOON - minutes(59)), False, id="daily, an hour late"),
        pytest.param(replace(DAILY, due_since=NOON - minutes(61)), True, id="daily, over an hour late"),
        pytest.param(
            replace(EVERY_TWO, due_since=NOON - minutes(30), running=True, started_at=NOON - minutes(29)),
            False,
            id="a long run has its time",
        ),
        pytest.param(
            replace(EVERY_TWO, due_since=NOON - minutes(70), running=True, started_at=NOON - minutes(69)),
            True,
            id="a run beyond its limit has not",
        ),
    ],
)
def test_overdue(standing: DutyStanding, overdue: bool) -> None:
    assert standing.is_overdue(NOON) is overdue


def test_what_was_missed_before_the_start_counts_from_the_start() -> None:
    week_late = replace(EVERY_TWO, due_since=NOON - timedelta(days=7))
    assert not week_late.is_overdue(NOON, since=NOON - minutes(5))
    assert week_late.is_overdue(NOON, since=NOON - minutes(11))
    assert week_late.lateness(NOON) == timedelta(days=7)


@pytest.mark.parametrize(
    ("standing", "missed"),
    [
        pytest.param(EVERY_TWO, False, id="not due"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - timedelta(seconds=29)), False, id="the schedule comes first"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(2.5)), True, id="a tick went by"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(2.5), waiting=True), False, id="it waits already"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(2.5), running=True), False, id="it runs"),
        pytest.param(replace(EVERY_TWO, due_since=NOON - minutes(1), started_at=None), True, id="it never ran"),
        pytest.param(
            replace(DAILY, due_since=NOON - minutes(5), last_tick=NOON - minutes(5), started_at=NOON - minutes(4),
                    finished_at=NOON - timedelta(seconds=50), failures=1),
            False,
            id="it failed less than a minute ago",
        ),
        pytest.param(
            replace(DAILY, due_since=NOON - minutes(5), last_tick=NOON - minutes(5), started_at=NOON - minutes(4),
                    finished_at=NOON - minutes(1.1), failures=1),
            True,
            id="it failed a minute ago",
        ),
        pytest.param(
            replace(DAILY, due_since=NOON - minutes(5), last_tick=NOON - minutes(5), started_at=NOON - minutes(4),
                    finished_at=NOON - minutes(3), failures=3),
            False,
            id="the third failure waits four minutes",
        ),
    ],
)  # fmt: skip
def test_missed(standing: DutyStanding, missed: bool) -> None:
    assert is_missed(standing, NOON) is missed


@pytest.fixture
async def deployment(new_database: Callable[..., str]) -> AsyncIterator[Database]:
    database = Database(new_database(), wire(), pool_size=2)
    yield database
    await database.close()


async def _made(database: Database, ago: timedelta) -> None:
    """A deployment that began a while ago."""
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            text("INSERT INTO tenants (id, name, internal_status, billing_details, metadata, status, created_at, "
                 "updated_at, created_by, updated_by) "
                 "VALUES ('tenant_1', 'T', 'active', '{}', '{}', 'published', now() - :ago, now(), '', '')"),
            {"ago": ago},
        )  # fmt: skip


async def _succeeds(database: Database, now: datetime) -> Counts:
    return {"succeeded": 1, "failed": 2}


async def _fails(database: Database, now: datetime) -> Counts:
    raise ValueError("SELECT secret")


async def test_standings_are_read_from_the_journal(deployment: Database) -> None:
    await _made(deployment, minutes(30))
    good, bad, new = (Duty(name, "*/2 * * * *", run) for name, run in (
        ("good", _succeeds), ("bad", _fails), ("new", _succeeds)))  # fmt: skip
    await perform(deployment, good, NOON)
    for _ in range(2):
        with pytest.raises(ValueError, match="secret"):
            await perform(deployment, bad, NOON)
    now = datetime.now(UTC)
    async with deployment.transaction(SYSTEM) as session:
        first, second, third = await read_standings(session, [good, bad, new], now)
        queue = await read_queue(session, 30)
    assert (first.failures, first.failed_items, first.is_overdue(now)) == (0, 2, False)
    assert first.succeeded_at is not None
    assert (second.failures, second.succeeded_at, second.is_overdue(now)) == (2, None, True)
    assert second.error == "an internal error (ValueError); the log says more"
    assert (third.started_at, third.is_overdue(now)) == (None, True)
    assert (queue.alive, queue.stalled, queue.parked) == (0, 0, {})


async def test_the_command_says_how_each_duty_stands(deployment: Database) -> None:
    output = io.StringIO()
    settings = settings_for(deployment.url)
    known = {duty.name: duty for duty in duties(deployment, settings)}
    await perform(deployment, known["undelivered_count"], datetime.now(UTC))
    await print_standings(deployment, settings, Console(file=output, width=200))
    rows = [re.split(r" *[│|] *", line.strip(" │|")) for line in output.getvalue().splitlines()]
    said = {row[0]: row[1:] for row in rows if row[0] in known}
    assert said.keys() == known.keys()
    assert {name: row[0] for name, row in said.items()} == {name: duty.cron for name, duty in known.items()}
    ran, never = said["undelivered_count"], said["meter_backfill"]
    assert [ran[column] != never[column] for column in (1, 2)] == [True, True], "its last run, its last success"


async def test_the_doctor_names_overdue_duties_and_jobs_that_nobody_has_in_hand(deployment: Database) -> None:
    await _made(deployment, timedelta(days=3))
    async with deployment.transaction(SYSTEM) as session:
        await session.execute(text(
            "INSERT INTO procrastinate_jobs (task_name, queue_name, status, attempts) "
            "VALUES ('clone', 'default', 'doing', 1), ('export', 'default', 'failed', 3)"
        ))  # fmt: skip
    output = io.StringIO()
    console = Console(file=output, width=200)
    settings = settings_for(deployment.url)
    assert await examine_duties(settings, deployment, console)
    said = output.getvalue()
    assert re.search(r"^duties +(\d+) known, \1 overdue$", said, re.MULTILINE)
    assert "  subscription_billing: no success, scheduled" in said
    assert "jobs            1 stalled, 1 parked" in said
    assert "  export: 1 failed for good; the log says why" in said
    assert "no worker is alive: start `farthing worker`" in said
    embedded = msgspec.structs.replace(settings, database_url=None)
    assert not await examine_duties(embedded, deployment, console), "nothing runs beside the doctor there"


async def test_runs_are_forgotten_after_thirty_days(deployment: Database) -> None:
    (retention,) = [duty for duty in duties(deployment, settings_for(deployment.url)) if duty.name == "retention"]
    for name in ("old", "new"):
        await perform(deployment, Duty(name, "*/2 * * * *", _succeeds), NOON)
    async with deployment.transaction(SYSTEM) as session:
        await session.execute(text("UPDATE job_runs SET started_at = now() - interval '31 days' WHERE name = 'old'"))
        await session.execute(text("UPDATE job_runs SET started_at = now() - interval '29 days' WHERE name = 'new'"))
    await perform(deployment, retention, datetime.now(UTC))
    async with deployment.transaction(SYSTEM, read_only=True) as session:
        assert set(await session.scalars(text("SELECT name FROM job_runs"))) == {"new", "retention"}


def test_duties_that_are_there_only_with_a_setting() -> None:
    wanted: dict[str, dict[str, Any]] = {
        "own_billing": {"billing_environment": "env_1"},
        "own_billing_usage": {"billing_environment": "env_1"},
        "email_delivery": {"smtp_url": "smtp://mail.example.com", "mail_from": "billing@example.com"},
        "event_retention": {"event_retention_days": 30},
        "event_writes": {"events_url": "clickhouse://host/books"},
        "reference_rates": {"fx_url": "https://rates.example.com/rates.csv"},
    }
    database = Database("postgresql://farthing@/nothing?host=/nowhere", wire(), pool_size=1)
    settings = settings_for(database.url)
    plain = {duty.name for duty in duties(database, settings)}
    for name, given in wanted.items():
        assert name not in plain
        assert name in {duty.name for duty in duties(database, msgspec.structs.replace(settings, **given))}


class TestReadiness:
    @pytest.mark.parametrize(
        ("worker", "started", "ready", "said"),
        [
            pytest.param("up", 30, False, {"worker": "ok", "duties": "overdue"}, id="it should do what is overdue"),
            pytest.param("up", 5, True, {"worker": "ok", "duties": "ok"}, id="it has just begun"),
            pytest.param("none", 30, True, {"worker": "none", "duties": "overdue"}, id="another's fault"),
            pytest.param("starting", 5, True, {"worker": "starting", "duties": "ok"}, id="its worker starts"),
            pytest.param("down", 5, False, {"worker": "down", "duties": "ok"}, id="its worker is gone"),
        ],
    )
    async def test_each_part(
        self, deployment: Database, worker: str, started: int, ready: bool, said: dict[str, Any]
    ) -> None:
        await _made(deployment, minutes(60))
        state = None
        if worker != "none":
            state = WorkerState(down_since=time.monotonic() - (60 if worker == "down" else 0))
            if worker == "up":
                state.is_up()
        duty = Duty("never", "*/2 * * * *", _succeeds)
        begun = datetime.now(UTC) - minutes(started)
        health = Health(deployment, [duty], state, begun, answer_seconds=PATIENCE_SECONDS)
        is_ready, body = await health.report()
        assert is_ready is ready
        assert body["status"] == ("ok" if ready else "unavailable")
        assert {name: body[name] for name in said} == said
        assert body.get("overdue", []) == (["never"] if said["duties"] == "overdue" else [])

    async def test_a_database_that_does_not_answer(self, deployment: Database) -> None:
        health = Health(deployment, [], None, datetime.now(UTC), fresh_seconds=0, answer_seconds=0.3)
        with psycopg.connect(deployment.url) as connection:
            connection.execute("LOCK TABLE tenants, job_runs IN ACCESS EXCLUSIVE MODE")
            is_ready, body = await health.report()
            assert (is_ready, body["database"]) == (False, "unavailable")
        health.answer_seconds = PATIENCE_SECONDS
        assert (await health.report())[0]

    def test_a_worker_that_is_begun_again_and_fails_again_is_down_since_the_first_time(self) -> None:
        state = WorkerState(down_since=time.monotonic() - 60)
        state.is_down()
        assert state.down_for() >= 60
        state.is_up()
        assert state.down_for() == 0
        state.looked_at -= 60
        assert not state.alive
        assert state.down_for() >= 60

    async def test_each_figure_of_duties_and_of_the_worker_is_measured(self, deployment: Database) -> None:
        def measured(name: str, **labels: str) -> float | None:
            return MEASURED.get_sample_value(f"farthing_{name}", labels)

        await _made(deployment, minutes(60))

        async def leaves_drafts(database: Database, now: datetime) -> Counts:
            return {"succeeded": 1, "without_rate": 4}

        good, bad = Duty("good", "*/2 * * * *", leaves_drafts), Duty("bad", "*/2 * * * *", _fails)
        await perform(deployment, good, datetime.now(UTC))
        for _ in range(2):
            with pytest.raises(ValueError, match="secret"):
                await perform(deployment, bad, NOON)
        state = WorkerState()
        state.is_up()
        state.restarts = 3
        await Health(deployment, [good, bad], state, datetime.now(UTC), answer_seconds=PATIENCE_SECONDS).measure()
        seen = measured("duty_last_success_timestamp_seconds", duty="good")
        assert seen is not None
        assert abs(seen - time.time()) < 60
        assert measured("duty_last_success_timestamp_seconds", duty="bad") == 0
        assert [measured("duty_overdue", duty=name) for name in ("good", "bad")] == [0, 1]
        assert [measured("duty_failures", duty=name) for name in ("good", "bad")] == [0, 2]
        late = measured("duty_late_seconds", duty="bad")
        assert late is not None
        assert 3000 < late < 4000
        assert measured("fx_waiting") == 4, "as the last run counted them"
        assert [measured(name) for name in ("worker_up", "worker_restarts", "database_up")] == [1, 3, 1]

    async def test_a_database_that_is_away(self) -> None:
        nowhere = Database("postgresql://farthing@/farthing?host=/nowhere", wire(), pool_size=1)
        health = Health(nowhere, [], None, datetime.now(UTC))
        is_ready, body = await health.report()
        assert not is_ready
        assert body == {"status": "unavailable", "database": "unavailable", "worker": "none", "duties": "unknown"}
        await health.measure()
        assert MEASURED.get_sample_value("farthing_database_up") == 0
        await nowhere.close()

    async def test_an_answer_that_was_long_on_its_way_is_old(self, deployment: Database) -> None:
        health = Health(deployment, [Duty("never", "*/2 * * * *", _succeeds)], None, datetime.now(UTC))
        health.fresh_seconds = 0.1
        admin = deployment.url.replace("farthing@", "postgres@", 1)
        async with await psycopg.AsyncConnection.connect(admin) as connection:
            await connection.execute("LOCK TABLE job_runs")
            slow = asyncio.create_task(health.look())
            await asyncio.sleep(2 * health.fresh_seconds)
            later = [asyncio.create_task(health.look()) for _ in range(3)]
            await asyncio.sleep(0)
        first, *others = await asyncio.gather(slow, *later)
        assert others[0] is not first, "who asks later is told what was seen later"
        assert all(look is others[0] for look in others), "many probes at once are answered from one look"

    async def test_it_is_served_and_so_are_the_metrics(self, account: Account) -> None:
        async with httpx.AsyncClient(base_url=account.base_url) as client:
            answer = await client.get("/health/ready")
            assert (answer.status_code, answer.json()["database"]) == (200, "ok")
            assert (await client.get("/health")).json() == {"status": "ok"}
            metrics = await client.get("/metrics")
        assert "farthing_database_up 1.0" in metrics.text
        assert "farthing_http_request_seconds_bucket" in metrics.text
        assert "process_resident_memory_bytes" in metrics.text, "one process is alone"
        assert 'farthing_duty_period_seconds{duty="subscription_billing"} 120.0' in metrics.text
