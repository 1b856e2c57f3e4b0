"""Several workers share one billing run: nothing is billed twice or left out, also when one of them is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from sqlalchemy import text

from benchmarks.billing.run import BILLED, FINALIZED, START, company
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.wiring import wire
from tests.billing.billed_company import books_are_right
from tests.jobs.test_crash import farthing, lively_workers, queue, rows, until
from tests.processes import ForkedProcess
from tests.waiting import until as until_true

COUNT = 1400
"""Enough for seven batches, of which a worker takes two in hand at once."""
COMPUTED = "last_computed_at IS NOT NULL"
BILLING, FINALIZATION = "subscription_billing", "draft_invoice_finalization"


@contextmanager
def two_workers(url: str) -> Iterator[tuple[ForkedProcess, ForkedProcess]]:
    with farthing(url, "worker") as one, farthing(url, "worker") as other:
        until(lambda: lively_workers(url) >= 2)
        yield one, other


async def set_clock(database: Database, scope: Scope, moment: datetime) -> None:
    """Let the environment live at this time, without doing what is due."""
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            text("UPDATE environments SET frozen_time = :moment WHERE id = :id"),
            {"moment": moment, "id": scope.environment_id},
        )


def did(url: str, duty: str, count: str) -> dict[str, int]:
    """What each of those who took part has done, by the name under which it did."""
    query = (
        "SELECT name, sum((counts->>%s)::int) FROM job_runs WHERE (name = %s OR name LIKE %s) "
        "AND finished_at IS NOT NULL AND counts ? %s GROUP BY name"
    )
    return {name: total for name, total in rows(url, query, count, duty, f"{duty}/%", count) if total}


async def invoices(database: Database, scope: Scope, condition: str) -> int:
    async with database.transaction(scope, read_only=True) as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM invoices WHERE {condition}")) or 0)


@pytest.mark.slow
async def test_two_worker_processes_share_a_run(new_database: Callable[..., str]) -> None:
    url = new_database()
    database = Database(url, wire())
    try:
        scope = await company(database, COUNT)
        await set_clock(database, scope, START)  # before anybody works: runs of their own find nothing due
        with two_workers(url):
            for duty, moment, count in (BILLING, BILLED, "succeeded"), (FINALIZATION, FINALIZED, "finalized"):
                await set_clock(database, scope, moment)
                queue(url, duty, "default", duty)
                until(lambda duty=duty, count=count: sum(did(url, duty, count).values()) == COUNT)  # type: ignore[misc]
                assert len(did(url, duty, count)) >= 2, "one of them did it all"
        await books_are_right(database, scope, COUNT)
    finally:
        await database.close()


@pytest.mark.slow
@pytest.mark.parametrize("is_leader", [True, False], ids=["who runs the duty", "who takes part"])
async def test_a_worker_that_is_killed_leaves_its_part_to_the_other(
    new_database: Callable[..., str], is_leader: bool
) -> None:
    url = new_database()
    database = Database(url, wire())
    try:
        scope = await company(database, COUNT)
        await set_clock(database, scope, START)  # before anybody works: runs of their own find nothing due
        with farthing(url, "worker") as one:
            until(lambda: lively_workers(url) >= 1)
            its_numbers = {number for (number,) in rows(url, "SELECT id FROM procrastinate_workers")}
            with farthing(url, "worker") as other:
                until(lambda: lively_workers(url) >= 2)
                await set_clock(database, scope, BILLED)
                queue(url, BILLING, "default", BILLING)
                await until_true(lambda: both_have_begun(url, database, scope))
                leads = at_work(url)[BILLING] in its_numbers
                (one if leads == is_leader else other).kill()
                assert await invoices(database, scope, COMPUTED) < COUNT, "nothing was left to do"
                await until_true(lambda: all_are(database, scope, COMPUTED), 180)
                await set_clock(database, scope, FINALIZED)
                queue(url, FINALIZATION, "default", FINALIZATION)
                await until_true(lambda: all_are(database, scope, "invoice_status = 'FINALIZED'"), 180)
        await books_are_right(database, scope, COUNT)
    finally:
        await database.close()


async def both_have_begun(url: str, database: Database, scope: Scope) -> bool:
    return len(at_work(url)) == 3 and await invoices(database, scope, COMPUTED) > 0


async def all_are(database: Database, scope: Scope, condition: str) -> bool:
    return await invoices(database, scope, condition) == COUNT


def at_work(url: str) -> dict[str, int]:
    """Who runs the duty and who has taken a share, by the lock of their job; who runs it has one, too, and waits."""
    query = "SELECT lock, worker_id FROM procrastinate_jobs WHERE status = 'doing' AND lock LIKE %s"
    return dict(rows(url, query, f"{BILLING}%"))
