"""When a deployment is well again: its server answers and takes writes, and its duties run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.service.deployment import START_SECONDS, Deployment
from benchmarks.chaos.traffic.ledger import Entry, Kind, Ledger
from benchmarks.chaos.traffic.load import Load
from benchmarks.chaos.waiting import wait_until

ASK_EVERY_SECONDS = 1.0
READINESS_SECONDS = 1.0
"""How long readiness may go on saying 200 after PostgreSQL went away."""
DUTY_ITSELF_SECONDS = 15
WATCHED_DUTIES = ("subscription_billing", "meter_backfill")
_ASK = """
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
    SELECT 'default', name, name, name, jsonb_build_object('timestamp', extract(epoch FROM now())::bigint)
    FROM unnest(%s::text[]) AS name ON CONFLICT DO NOTHING
"""
_RAN = "SELECT DISTINCT name FROM job_runs WHERE started_at > %s AND error IS NULL AND name = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a deployment may take to be well again after a fault."""

    duty_seconds: float
    """Until a duty runs: the time until its job is taken up again, and what it takes itself."""
    service_seconds: float = 30
    """Until it answers and takes a write, the start of its processes included."""
    settle_seconds: float = 45
    """Until everything has its answer that was begun before the end of a phase."""

    @classmethod
    def for_stalled(cls, stalled_seconds: float) -> Bounds:
        """Those of a deployment whose workers are taken for dead after so long."""
        return cls(duty_seconds=2 * stalled_seconds + DUTY_ITSELF_SECONDS)

    def times(self, patience: float) -> Bounds:
        """The same for a machine that is busy with other work."""
        return Bounds(self.duty_seconds * patience, self.service_seconds * patience, self.settle_seconds * patience)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took until the service and its duties were back; None: they were not, within the bound."""

    service_seconds: float | None
    duty_seconds: float | None


@dataclass(slots=True)
class ReadinessWatch:
    """What `/health/ready` said, asked ten times a second."""

    deployment: Deployment
    samples: list[tuple[float, float, int]] = field(default_factory=list)
    """Begin and end of each request (monotonic seconds), and its status; 0 for none."""
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        async with httpx.AsyncClient(base_url=self.deployment.url, timeout=5, trust_env=False) as http:
            while True:
                began, status = time.monotonic(), 0
                with suppress(httpx.HTTPError):
                    status = (await http.get("/health/ready")).status_code
                self.samples.append((began, time.monotonic(), status))
                await asyncio.sleep(0.1)

    def said_ready_between(self, began: float, ended: float) -> bool:
        """Whether a request that began and ended in this time was told that all is well."""
        return any(first >= began and last <= ended and status == 200 for first, last, status in self.samples)

    @property
    def says_ready(self) -> bool:
        return bool(self.samples) and self.samples[-1][2] == 200


def ask_for_duties(admin: psycopg.Connection[Any], names: Sequence[str] = WATCHED_DUTIES) -> None:
    """Queue duties now, as their next tick would, unless they are queued already."""
    admin.execute(_ASK, [list(names)])


async def keep_asking_for_duties(deployment: Deployment, every_seconds: float) -> None:
    """Billing runs beside everything else, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        with suppress(psycopg.Error), deployment.admin() as admin:
            ask_for_duties(admin)


@dataclass(frozen=True, slots=True)
class Observer:
    """Watches one deployment come back."""

    deployment: Deployment
    load: Load
    ledger: Ledger
    findings: Findings
    readiness: ReadinessWatch
    bounds: Bounds

    async def wait_until_well(self) -> Recovery:
        """Wait for the service and for its duties, starting again what ended by itself meanwhile."""
        began, since = time.monotonic(), datetime.now(UTC)
        service, duties = await asyncio.gather(self._wait_for_service(began), self._wait_for_duties(began, since))
        if service is None:
            await self._wait_until_it_can_be_broken_again()
            self.findings.add(Defect.NOT_BACK, f"no write was accepted for {self.bounds.service_seconds:.0f} s")
        return Recovery(service, duties)

    async def _wait_for_service(self, began: float) -> float | None:
        reference = f"canary-{time.time_ns()}"
        entry = self.ledger.record(Entry(Kind.CUSTOMER, reference, {}, is_repeatable=False))
        body = {"external_id": reference, "name": "Canary"}
        http = self.load.running.client.http
        while time.monotonic() - began < self.bounds.service_seconds:
            if self.readiness.says_ready:
                with suppress(httpx.HTTPError):
                    answer = await http.post("/customers", json=body, headers={"Idempotency-Key": reference}, timeout=5)
                    if answer.is_success:
                        self.ledger.acknowledge([entry], answer.json()["id"])
                        return time.monotonic() - began
            await asyncio.sleep(0.05)
        return None

    async def _wait_for_duties(self, began: float, since: datetime) -> float | None:
        missing, asked_at = set(WATCHED_DUTIES), 0.0
        while time.monotonic() - began < self.bounds.duty_seconds:
            self.start_what_ended()
            with suppress(psycopg.Error), self.deployment.admin() as admin:
                missing -= {row[0] for row in admin.execute(_RAN, [since, list(missing)])}
                if not missing:
                    return time.monotonic() - began
                if time.monotonic() - asked_at > ASK_EVERY_SECONDS:
                    ask_for_duties(admin, sorted(missing))
                    asked_at = time.monotonic()
            await asyncio.sleep(0.15)
        said = "ready" if self.readiness.says_ready else "not ready"
        names = ", ".join(sorted(missing))
        self.findings.add(
            Defect.STALLED, f"{names} did not run for {self.bounds.duty_seconds:.0f} s; readiness says {said}"
        )
        await self._help()
        await self._wait_until_it_can_be_broken_again()
        return None

    async def _wait_until_it_can_be_broken_again(self) -> None:
        """Past every bound, so that a deployment that is late does not spoil the rounds after it."""
        await wait_until(lambda: not self.readiness.says_ready, 1)  # it may have been restarted just now
        await wait_until(lambda: self.readiness.says_ready, START_SECONDS)

    async def _help(self) -> None:
        """What an operator would have to do, so that the next rounds can find something again."""
        for process in self.deployment.duty_processes:
            await process.kill()
        with suppress(psycopg.Error), self.deployment.admin() as admin:
            # without its queueing lock, for another job of the duty may be waiting already
            admin.execute(
                "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, queueing_lock = NULL "
                "WHERE status = 'doing'"
            )
        for process in self.deployment.duty_processes:
            process.start()

    def start_what_ended(self) -> None:
        """Start every process that ended by itself, as a supervisor does; that it ended is a defect."""
        for process in self.deployment.processes:
            if process.has_ended:
                self.findings.add(Defect.EXITED, f"{process.name} ended by itself with status {process.exit_status}")
                process.start()
