"""Phase by phase, round by round: load, break, wait, and at the end of each phase examine."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from benchmarks.chaos.faults import Break, Outage, bring_about
from benchmarks.chaos.findings import Defect, Findings
from benchmarks.chaos.judging.comparison import Comparison, Tally
from benchmarks.chaos.judging.doctor import run_doctor
from benchmarks.chaos.judging.recovery import (
    READINESS_SECONDS,
    Bounds,
    Observer,
    ReadinessWatch,
    keep_asking_for_duties,
)
from benchmarks.chaos.judging.report import Report, RoundResult
from benchmarks.chaos.schedule import Mode, Phase, Round
from benchmarks.chaos.service import restarts
from benchmarks.chaos.service.deployment import Deployment
from benchmarks.chaos.service.disk import CannotMount, small_disk
from benchmarks.chaos.shared_runs import Company
from benchmarks.chaos.traffic.catalogue import open_tenants, wait_until_ready
from benchmarks.chaos.traffic.ledger import Kind, Ledger
from benchmarks.chaos.traffic.load import Load
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade

BILLING_EVERY_SECONDS = 2.0
FAULT_SECONDS = 90
QUIET_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the load is, how long all of it may last, and how long recovery may take."""

    clients: int
    most_minutes: int
    """After these no phase is begun."""
    bounds: Bounds
    stalled_seconds: float
    """After which a worker that gives no sign of life is taken for dead."""


async def run_phases(phases: Sequence[Phase], folder: Path, report: Report, pace: Pace) -> None:
    """Run every phase on a deployment of its own below `folder`."""
    began = time.monotonic()
    template = folder / "template"
    _make_template(template)
    restarts.prepare()
    for number, phase in enumerate(phases):
        if time.monotonic() - began > pace.most_minutes * 60:
            report.skipped.append(f"{len(phase.rounds)} rounds of {phase.mode}: {pace.most_minutes} minutes were over")
            continue
        with ExitStack() as mounted:
            own = folder / f"phase-{number + 1}"
            data = own / "data"
            if phase.mode is Mode.SMALL_DISK:
                try:
                    data = mounted.enter_context(small_disk(own / "disk")) / "data"
                except CannotMount as error:
                    report.skipped.append(f"{len(phase.rounds)} rounds of {phase.mode}: {error}")
                    print(f"     skipped {report.skipped[-1]}", flush=True)
                    continue
            report.findings.where = f"phase {number + 1} ({phase.mode}), start"
            deployment = Deployment(phase.mode, own, data, pace.stalled_seconds)
            deployment.take_over(template)
            try:
                await _run_phase(phase, deployment, report, pace)
            finally:
                report.runs[-1].seconds = time.monotonic() - began


def _make_template(folder: Path) -> None:
    """An empty database of this release, from which every phase begins."""
    with EmbeddedPostgres(folder) as server:
        upgrade(server.url())


async def _run_phase(phase: Phase, deployment: Deployment, report: Report, pace: Pace) -> None:
    ledger, readiness = Ledger(), ReadinessWatch(deployment)
    chance = random.Random(phase.rounds[0].seed)
    background: list[asyncio.Task[None]] = []
    load: Load | None = None
    results: list[RoundResult] = []
    try:
        await deployment.start()
        try:
            await wait_until_ready(deployment)
            running, clocked = await open_tenants(deployment)
        except (RuntimeError, httpx.HTTPError) as error:
            report.findings.add(Defect.NOT_BACK, f"it did not begin: {error!r}")
            report.skipped.append(f"{len(phase.rounds)} rounds of {phase.mode}: it did not begin")
            return
        load = Load(running, clocked, ledger, report.findings, chance, pace.clients)
        load.start()
        readiness.start()
        background.append(asyncio.create_task(keep_asking_for_duties(deployment, BILLING_EVERY_SECONDS)))
        observer = Observer(deployment, load, ledger, report.findings, readiness, pace.bounds)
        company = Company(deployment)
        for chosen in phase.rounds:
            report.findings.where = f"round {chosen.number} ({phase.mode}: {chosen.fault})"
            results.append(await _run_round(chosen, observer, report, company))
        report.findings.where = f"after round {phase.rounds[-1].number} ({phase.mode})"
        await load.settle(pace.bounds.settle_seconds)
        await _stop_all(background)
        report.add_phase(results, *await _examine(deployment, load, ledger, report.findings))
    finally:
        await _stop_all(background)
        await readiness.stop()
        if load is not None:
            await load.close()
        await deployment.stop()


async def _run_round(chosen: Round, observer: Observer, report: Report, company: Company) -> RoundResult:
    await asyncio.sleep(chosen.calm_seconds)
    outage = Outage()
    chance = random.Random(chosen.seed)
    given = Break(observer.deployment, observer.load, chance, chosen.hold_seconds, outage, company)
    try:
        await asyncio.wait_for(bring_about(chosen.fault, given), FAULT_SECONDS)
    except (psycopg.OperationalError, TimeoutError) as error:
        report.findings.add(Defect.NOT_BACK, f"the fault could not be brought about: {error}")
    recovery = await observer.wait_until_well()
    if outage.began is not None and outage.ended is not None:
        since = outage.began + READINESS_SECONDS
        if observer.readiness.said_ready_between(since, outage.ended):
            report.findings.add(Defect.READINESS, "said 200 while PostgreSQL was away")
    result = RoundResult(observer.deployment.mode, chosen, recovery)
    report.show_round(result, observer.ledger.acknowledged())
    return result


async def _examine(
    deployment: Deployment, load: Load, ledger: Ledger, findings: Findings
) -> tuple[Counter[Kind], Tally, int]:
    """Compare the ledger with the database, and let the doctor look: what was acknowledged, and how it stands."""
    await _wait_until_quiet(deployment)
    with deployment.admin() as admin:
        tally = await Comparison(ledger, admin, load.running, findings).run()
    differences = await run_doctor(deployment, findings)
    lost, doubled = sum(tally.lost.values()), sum(tally.doubled.values())
    print(f"     examined: lost={lost} doubled={doubled} different={tally.different} doctor={differences}", flush=True)
    return ledger.acknowledged(), tally, differences


async def _wait_until_quiet(deployment: Deployment) -> None:
    """Until no job waits or is in hand; one that never ends was a finding of its round already."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        with suppress(psycopg.Error), deployment.admin() as admin:
            query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            if admin.execute(query).fetchall() == [(0,)]:
                return
        await asyncio.sleep(0.2)


async def _stop_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
