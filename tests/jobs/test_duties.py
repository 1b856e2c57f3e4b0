"""Duties that raise, hang or do not stop, and the guard that lets a duty run once at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from procrastinate.jobs import Status
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from farthing.identity.bootstrap import new_tenant
from farthing.jobs.duties.duty import Counts, Duty, everywhere, perform
from farthing.jobs.execution import exclusion, limits
from farthing.jobs.execution.exclusion import AlreadyRunning, LockLost
from farthing.jobs.execution.failures import TookTooLong
from farthing.jobs.tables import JobRun
from farthing.jobs.workers import recovery, worker
from farthing.jobs.workers.pace import ORDINARY_PACE, Pace, WorkerState
from farthing.jobs.workers.recovery import Recovery, take_turn
from farthing.jobs.workers.worker import keep_working, queue_of
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire

pytestmark = pytest.mark.usefixtures("plain_logs")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER = "0 0 1 1 *"
"""A schedule that does not come up while tests run."""
QUICK = Pace(look_seconds=0.3, orderly_end_seconds=0.2, longest_pause=0.5)
Work = Callable[[Database, datetime], Awaitable[Counts]]


@pytest.fixture
async def deployment(new_database: Callable[..., str]) -> AsyncIterator[Database]:
    """A deployment of its own: a worker takes every job that it finds."""
    database = Database(new_database(), wire())
    yield database
    await database.close()


async def does_nothing(database: Database, now: datetime) -> Counts:
    return {"succeeded": 1}


async def hangs(database: Database, now: datetime) -> Counts:
    await asyncio.sleep(3600)
    return {}


async def fails_in_the_database(database: Database, now: datetime) -> Counts:
    async with database.transaction(SYSTEM) as session:
        await session.execute(text("SELECT secret_column FROM no_such_table"))
    return {}


def duty(name: str, run: Work = does_nothing, limit: float = 60, cron: str = NEVER) -> Duty:
    return Duty(name, cron, run, timedelta(seconds=limit))


async def stopped_at_its_limit(database: Database, name: str, work: Work) -> float:
    """Run a duty until it is stopped in the middle; the limit it had: longer where a machine is slow to begin it."""
    began = asyncio.Event()

    async def begin(database: Database, now: datetime) -> Counts:
        began.set()
        return await work(database, now)

    for limit in (0.3, 3.0, 30.0):
        with pytest.raises(TookTooLong):
            await perform(database, duty(name, begin, limit), NOW)
        if began.is_set():
            return limit
    raise AssertionError("it never began")


async def runs(database: Database, name: str) -> list[JobRun]:
    async with database.transaction(SYSTEM, read_only=True) as session:
        return list(await session.scalars(select(JobRun).where(JobRun.name == name).order_by(JobRun.started_at)))


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


async def jobs(database: Database) -> list[tuple[str, str]]:
    async with database.transaction(SYSTEM, read_only=True) as session:
        rows = await session.execute(text("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id"))
        return [(row[0], row[1]) for row in rows]


@asynccontextmanager
async def working(database: Database, *duties: Duty, pace: Pace = QUICK) -> AsyncIterator[WorkerState]:
    """A worker with these duties, each queued to run now."""
    state = WorkerState()
    task = asyncio.create_task(keep_working(database, duties, state, pace))
    await queue_now(database, *duties)
    try:
        yield state
    finally:
        task.cancel()
        await asyncio.wait({task})


async def queue_now(database: Database, *duties: Duty) -> None:
    app = queue_of(database, duties)
    async with app.open_async():
        for each in duties:
            await app.configure_task(each.name).defer_async(timestamp=int(NOW.timestamp()))


async def leave_in_hand(database: Database, name: str) -> None:
    """As a process leaves a job that was killed with it: said to run, by a worker that was pruned."""
    await queue_now(database, duty(name))
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing' WHERE task_name = :name"), {"name": name}
        )


class TestOneRun:
    async def test_a_run_is_kept_with_its_counts(self, deployment: Database) -> None:
        await perform(deployment, duty("quiet"), NOW)
        (run,) = await runs(deployment, "quiet")
        assert (run.scheduled_at, run.counts, run.error) == (NOW, {"succeeded": 1}, None)
        assert run.finished_at is not None

    async def test_what_is_kept_of_a_failure_holds_nothing_internal(self, deployment: Database) -> None:
        with pytest.raises(Exception, match="no_such_table"):
            await perform(deployment, duty("broken", fails_in_the_database), NOW)
        (run,) = await runs(deployment, "broken")
        assert run.error == "the database could not do what was asked of it; the log says more"

    async def test_a_run_that_hangs_is_stopped_at_its_limit(self, deployment: Database) -> None:
        limit = await stopped_at_its_limit(deployment, "slow", hangs)
        run = (await runs(deployment, "slow"))[-1]
        assert run.error == f"it took longer than {limit:g} seconds and was stopped"
        await perform(deployment, duty("slow"), NOW)

    async def test_a_run_that_does_not_stop_is_left_behind_and_keeps_its_lock(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "GRACE_SECONDS", 0.1)
        monkeypatch.setattr(exclusion, "_WAIT", "100ms")
        released = asyncio.Event()

        async def ignores(database: Database, now: datetime) -> Counts:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            return {}

        await stopped_at_its_limit(deployment, "stubborn", ignores)
        with pytest.raises(AlreadyRunning):
            await perform(deployment, duty("stubborn"), NOW)
        released.set()

        async def free() -> bool:
            try:
                await perform(deployment, duty("stubborn"), NOW)
            except AlreadyRunning:
                return False
            return True

        await until(free)

    async def test_two_at_once_are_one(self, deployment: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exclusion, "_WAIT", "100ms")
        began, refused = asyncio.Event(), asyncio.Event()

        async def waits(database: Database, now: datetime) -> Counts:
            began.set()
            await refused.wait()
            return {}

        first = asyncio.create_task(perform(deployment, duty("one", waits), NOW))
        await began.wait()
        with pytest.raises(AlreadyRunning):
            await perform(deployment, duty("one", waits), NOW)
        refused.set()
        await first
        assert len(await runs(deployment, "one")) == 1

    async def test_a_run_whose_lock_is_lost_is_cancelled(self, deployment: Database, sockets: str) -> None:
        began = asyncio.Event()

        async def waits(database: Database, now: datetime) -> Counts:
            began.set()
            return await hangs(database, now)

        run = asyncio.create_task(perform(deployment, duty("fenced", waits), NOW))
        await began.wait()
        end_sessions(deployment, sockets, "%by hand")
        with pytest.raises(LockLost):
            await run
        (kept,) = await runs(deployment, "fenced")
        assert kept.error is not None
        assert "taken from it" in kept.error

    async def test_one_environment_that_hangs_does_not_keep_the_others_waiting(self, deployment: Database) -> None:
        async with deployment.transaction(SYSTEM) as session:
            made = [await new_tenant(session, name="T", email=f"{n}@example.com") for n in range(3)]
        stuck = made[1][2].id
        visited: list[str] = []

        async def batch(session: Any, now: datetime) -> int:
            here = session.info["scope"].environment_id
            if here == stuck:
                await asyncio.sleep(3600)
            visited.append(here)
            return 0

        limit = timedelta(seconds=0.3)
        counts = await everywhere(batch, batch_limit=limit)(deployment, NOW)
        assert sorted(visited) == sorted([made[0][2].id, made[2][2].id])
        assert counts["failed"] == 1


def end_sessions(database: Database, sockets: str, like: str) -> int:
    """End the sessions of this database whose name is like this, as its superuser."""
    name = database.engine.url.database
    with psycopg.connect(f"postgresql://postgres@/postgres?host={sockets}", autocommit=True) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = %s AND application_name LIKE %s",
            (name, like),
        ).rowcount


class TestWorker:
    async def test_duties_that_hang_or_raise_keep_no_other_waiting(self, deployment: Database) -> None:
        stuck = [duty(f"stuck_{n}", hangs) for n in range(4)]
        broken = duty("broken", fails_in_the_database)
        fine = [duty("fine_1"), duty("fine_2")]
        async with working(deployment, *stuck, broken, *fine):
            for each in fine:
                await until(partial(runs, deployment, each.name))
            await until(lambda: runs(deployment, "broken"))
        assert (await runs(deployment, "stuck_0"))[0].error == "its process ended before it did"

    async def test_a_job_that_nobody_knows_or_can_read_keeps_no_other_waiting(self, deployment: Database) -> None:
        fine = duty("fine")
        app = queue_of(deployment, [fine])
        async with app.open_async():
            for n in range(5):
                await app.configure_task("of_another_release").defer_async(number=n)
            await app.configure_task("fine", queueing_lock="odd", lock="odd").defer_async(unknown="argument")
        async with working(deployment, fine):
            await until(lambda: runs(deployment, "fine"))

    async def test_it_goes_on_after_all_its_connections_were_cut(self, deployment: Database, sockets: str) -> None:
        fine = duty("fine")
        async with working(deployment, fine):
            await until(lambda: runs(deployment, "fine"))
            for _ in range(2):
                end_sessions(deployment, sockets, "%")
                before = len(await until(lambda: _runs_if_there(deployment)))
                await queue_now(deployment, fine)

                async def ran_again(before: int = before) -> bool:
                    return len(await runs(deployment, "fine")) > before

                await until(ran_again)

    async def test_a_process_that_stands_still_while_it_fetches_a_job_keeps_it_from_nobody(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "STALE_SECONDS", 1)
        fine = duty("fine")
        app = queue_of(deployment, [fine])
        connector: Any = app.connector

        async def stand_still_until_another_has_run() -> None:
            async with connector.pool.connection() as still:
                await still.execute("SELECT FROM procrastinate_jobs FOR UPDATE")
                async with working_without_queueing(deployment, fine):
                    await until(lambda: runs(deployment, "fine"))

        async with app.open_async():
            await queue_now(deployment, fine)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                await stand_still_until_another_has_run()

    async def test_a_process_that_stands_still_while_it_looks_after_the_queue_loses_its_turn(
        self, deployment: Database
    ) -> None:
        async def another_has_its_turn() -> bool:
            async with deployment.transaction(SYSTEM) as session:
                return await take_turn(session, 1)

        async def stand_still_until_another_has_its_turn() -> None:
            async with deployment.transaction(SYSTEM) as still:
                assert await take_turn(still, 1)
                assert not await another_has_its_turn()
                await until(another_has_its_turn)

        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            await stand_still_until_another_has_its_turn()

    async def test_a_worker_that_ends_is_begun_again(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def ends(*_: Any) -> None:
            return

        with monkeypatch.context() as patch:
            patch.setattr(worker, "_worker", ends)
            fine = duty("fine")
            async with working(deployment, fine, pace=Pace(first_pause=0.01, longest_pause=0.05)) as state:

                async def restarted() -> bool:
                    return state.restarts > 2

                await until(restarted)
                patch.undo()
                await until(lambda: runs(deployment, "fine"))

    async def test_a_worker_whose_parts_fail_one_after_the_other_is_begun_again(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: Any) -> None:
            await asyncio.sleep(0.05)
            raise OSError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(worker, "_worker", fails)
            async with working(deployment, pace=Pace(first_pause=0.01, longest_pause=0.05)) as state:

                async def restarted() -> bool:
                    return state.restarts > 2

                await until(restarted)

    async def test_a_part_that_loses_its_cancellation_keeps_no_worker_from_beginning_again(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Python's own `wait_for` loses one where what it waits for comes at that moment."""
        asked, looked = asyncio.Event(), []

        async def goes_on(self: Recovery) -> None:
            self.looked()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                asked.set()
            self.looked()
            looked.append(state.works)
            await asyncio.sleep(3600)

        async def fails(*_: Any) -> None:
            await asyncio.sleep(0.05)
            raise OSError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(Recovery, "keep_looking", goes_on)
            patch.setattr(worker, "_worker", fails)
            pace = Pace(orderly_end_seconds=0.05, first_pause=0.01, longest_pause=0.05)
            async with working(deployment, pace=pace) as state:

                async def restarted() -> bool:
                    return state.restarts > 0

                await until(restarted)
        assert asked.is_set()
        assert not any(looked), "one that should have ended does not say that the worker works"

    async def test_a_worker_that_fails_while_it_ends_does_not_begin_again(
        self, deployment: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began = asyncio.Event()

        async def fails_at_its_end(*_: Any) -> None:
            began.set()
            try:
                await asyncio.sleep(3600)
            finally:
                raise OSError("the database is away")

        monkeypatch.setattr(worker, "_worker", fails_at_its_end)
        task = asyncio.create_task(keep_working(deployment, [], WorkerState()))
        await began.wait()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=60)
        assert done
        assert task.cancelled()


async def _runs_if_there(database: Database) -> list[JobRun]:
    try:
        return await runs(database, "fine")
    except Exception:
        return []


class TestRecovery:
    async def test_a_job_left_in_hand_is_taken_up(self, deployment: Database) -> None:
        await leave_in_hand(deployment, "fine")
        async with working_without_queueing(deployment, duty("fine")):
            await until(lambda: runs(deployment, "fine"))
        assert await jobs(deployment) == []

    async def test_it_makes_way_where_the_next_run_waits_already(self, deployment: Database) -> None:
        await leave_in_hand(deployment, "fine")
        await queue_now(deployment, duty("fine"))
        assert await jobs(deployment) == [("fine", "doing"), ("fine", "todo")]
        async with working_without_queueing(deployment, duty("fine")):
            await until(lambda: runs(deployment, "fine"))

            async def no_job_is_left() -> bool:
                return await jobs(deployment) == []

            await until(no_job_is_left)

    async def test_a_job_whose_worker_lives_is_left_alone(self, deployment: Database) -> None:
        began, end = asyncio.Event(), asyncio.Event()

        async def waits(database: Database, now: datetime) -> Counts:
            began.set()
            await end.wait()
            return {}

        slow = duty("slow", waits)
        async with working(deployment, slow):
            await began.wait()
            app = queue_of(deployment, [slow])
            async with app.open_async():
                other = Recovery(app, deployment, [slow], ORDINARY_PACE, lambda: None)
                for _ in range(3):
                    await other.look()
            assert await jobs(deployment) == [("slow", "doing")]
            end.set()

            async def ended() -> bool:
                (run,) = await runs(deployment, "slow")
                return run.finished_at is not None

            await until(ended)
        (run,) = await runs(deployment, "slow")
        assert run.error is None

    async def test_a_job_that_ended_ten_processes_is_parked(self, deployment: Database) -> None:
        app = queue_of(deployment, [])
        async with app.open_async():
            await app.configure_task("environment_clone", queue="clones", lock="x").defer_async()
            async with deployment.transaction(SYSTEM) as session:
                await session.execute(text("UPDATE procrastinate_jobs SET status = 'doing', attempts = 10"))
            await Recovery(app, deployment, [], ORDINARY_PACE, lambda: None).look()
        assert await jobs(deployment) == [("environment_clone", "failed")]

    async def test_only_who_has_a_job_in_hand_ends_it(self, deployment: Database) -> None:
        app = queue_of(deployment, [duty("fine")])
        async with app.open_async():
            manager = app.job_manager
            first, second = [await manager.register_worker() for _ in range(2)]
            await app.configure_task("fine").defer_async(timestamp=0)
            job = await manager.fetch_job(["default"], first)
            assert job is not None
            assert job.id is not None
            await manager.retry_job_by_id_async(job.id, NOW)
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
            assert await jobs(deployment) == [("fine", "todo")]
            taken = await manager.fetch_job(["default"], second)
            await manager.finish_job(job, Status.FAILED, delete_job=False)
            await manager.retry_job(job)
            assert await jobs(deployment) == [("fine", "doing")]
            assert taken is not None
            await manager.finish_job(taken, Status.SUCCEEDED, delete_job=True)
            assert await jobs(deployment) == []


@asynccontextmanager
async def working_without_queueing(database: Database, *duties: Duty) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_working(database, duties, WorkerState(), QUICK))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(0, 10), (1, 10), (2, 20), (5, 160), (11, 10240), (12, 20480), (99, 21600)]
)
def test_waits_grow_from_ten_seconds_to_six_hours(attempt: int, seconds: int) -> None:
    assert recovery.wait_before(attempt) == timedelta(seconds=seconds)
