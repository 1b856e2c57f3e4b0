"""Billing runs that are long enough for several workers to share them: a company whose next month becomes due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from benchmarks.billing.run import BILLED, START, company
from benchmarks.chaos.service.deployment import Deployment
from benchmarks.chaos.traffic.ledger import Entry, Kind, Ledger
from benchmarks.chaos.waiting import wait_until
from farthing.storage.postgres import Database
from farthing.wiring import wire

SUBSCRIPTIONS = 1000
"""Five batches, of which a worker takes two in hand at once."""
EVENTS_PER_METER = 2
RUN_SECONDS = 30
_AT_WORK = """
    SELECT job.lock, split_part(session.application_name, ' ', 2)::int
    FROM procrastinate_jobs AS job
    JOIN pg_stat_activity AS session ON session.application_name LIKE 'farthing %% worker ' || job.worker_id
    WHERE job.status = 'doing' AND (job.lock = %(duty)s OR job.lock LIKE %(duty)s || '/%%')
"""
"""By the lock of a run or of a share in one, the process that has it in hand."""


@dataclass(slots=True)
class Company:
    """A tenant with many subscriptions, whose clock stands still between runs."""

    deployment: Deployment
    environment_id: str = ""
    """None until it is founded."""
    months: int = 0
    """How many were made due."""

    async def found(self) -> None:
        """Make it, with nothing due, unless it is there."""
        if self.environment_id:
            return
        database = Database(self.deployment.postgres.url(), wire())
        try:
            scope = await company(database, SUBSCRIPTIONS, EVENTS_PER_METER, frozen_time=START)
        finally:
            await database.close()
        self.environment_id = scope.environment_id

    def make_a_month_due(self, admin: psycopg.Connection[Any], ledger: Ledger) -> None:
        """Let its clock stand right after the next end of a month."""
        self.months += 1
        months = BILLED.month - 1 + self.months - 1
        moment = datetime(BILLED.year + months // 12, months % 12 + 1, 1, 1, tzinfo=BILLED.tzinfo)
        details = {"environment_id": self.environment_id, "subscriptions": SUBSCRIPTIONS, "periods": self.months}
        ledger.acknowledge([ledger.record(Entry(Kind.SHARED_RUN, f"{self.environment_id}/{self.months}", details))])
        admin.execute("UPDATE environments SET frozen_time = %s WHERE id = %s", [moment, self.environment_id])


@dataclass(frozen=True, slots=True)
class Sharers:
    """The processes at work on one run."""

    leader: int
    helpers: list[int] = field(default_factory=list)


async def wait_until_shared(admin: psycopg.Connection[Any], duty: str = "subscription_billing") -> Sharers:
    """Until somebody takes part in another's run. Raises TimeoutError."""
    seen: list[Sharers] = []

    def is_shared() -> bool:
        at_work = dict(admin.execute(_AT_WORK, {"duty": duty}).fetchall())
        leader = at_work.pop(duty, None)
        helpers = [pid for pid in at_work.values() if pid != leader]
        if leader is None or not helpers:
            return False
        seen.append(Sharers(leader, helpers))
        return True

    if not await wait_until(is_shared, RUN_SECONDS, 0.02):
        raise TimeoutError("nobody took part in a billing run")
    return seen[0]
