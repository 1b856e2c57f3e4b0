"""Two tenants in one process: what a light load of one takes alone, and beside a flood of the other.

The light load is open (20 requests a second: summaries, events, lists), so that its waits count; most floods are
closed, from 32 connections in a process of its own. A tenant keeps to its share if the median beside it is at most
about three times that alone and nothing of the light load fails. Alone is measured before and after: a machine may have
other work.

`BENCH_BESIDE=folder` names a checkout of another version, which takes turns with this one, flood by flood.
`BENCH_ONLY=documents,batches` runs the floods whose names hold one of these, `BENCH_ROUNDS` (1) each of them so often,
and `BENCH_INVOICES` (100,000) is how many the tenant that floods has.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.floods import Flood, floods
from benchmarks.harness import Report, Service, cpu_of, service
from benchmarks.load import Answers, Call, open_in_process
from benchmarks.reads.reports import fill

SECTION = "Neighbours"
SECONDS = 6.0
LEAD_SECONDS = 2.5
"""How long the flood is under way before the light load begins."""
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
INVOICES = int(os.environ.get("BENCH_INVOICES", "100000"))
_WEBHOOKS_HERE = {"FARTHING_WEBHOOK_ALLOW_PRIVATE": "true"}
PASSWORD = "neighbours of a benchmark"


@dataclass(frozen=True, slots=True)
class _Deployment:
    """One version with its two tenants: what the light one sends, and what the other can flood it with."""

    version: str
    running: Service
    key: str
    light: Sequence[Call]
    floods: Mapping[str, Flood]

    async def alone(self) -> Answers:
        return await open_in_process(self.running.port, self.key, self.light, SECONDS)

    async def beside(self, name: str) -> tuple[Answers, object]:
        """What the light load saw beside a flood, and what the flood says of itself."""
        flooding = asyncio.create_task(self.floods[name](self.running, SECONDS + LEAD_SECONDS))
        await asyncio.sleep(LEAD_SECONDS)
        return await self.alone(), await flooding


async def measure(report: Report) -> None:
    """The light load beside each flood of a tenant with 100,000 invoices."""
    beside = os.environ.get("BENCH_BESIDE")
    with ExitStack() as stack:
        versions = {"": None} if beside is None else {"before: ": Path(beside), "after: ": None}
        deployments = [
            await _deployment(
                version, stack.enter_context(service(checkout=checkout, FARTHING_WEBHOOK_ALLOW_PRIVATE="true"))
            )
            for version, checkout in versions.items()
        ]
        wanted = os.environ.get("BENCH_ONLY", "").split(",")
        for deployment in deployments:
            _say(report, f"{deployment.version}light load alone", await deployment.alone())
        for name in deployments[0].floods:
            if any(part in name for part in wanted):
                await _take_turns(report, deployments, name)
        for deployment in deployments:
            _say(report, f"{deployment.version}light load alone, afterwards", await deployment.alone())


async def _take_turns(report: Report, deployments: Sequence[_Deployment], name: str) -> None:
    """Each version beside the flood of this name, in turn, as many rounds as wanted."""
    seen: dict[str, Answers] = defaultdict(Answers)
    flooded: dict[str, list[object]] = defaultdict(list)
    cpu: dict[str, float] = defaultdict(float)
    for round_number in range(ROUNDS):
        for deployment in deployments if round_number % 2 == 0 else deployments[::-1]:
            before = sum(cpu_of(deployment.running))
            answers, flood = await deployment.beside(name)
            cpu[deployment.version] += sum(cpu_of(deployment.running)) - before
            seen[deployment.version].add(answers)
            flooded[deployment.version].append(flood)
    for deployment in deployments:
        version = deployment.version
        cores = cpu[version] / (ROUNDS * (SECONDS + LEAD_SECONDS))
        _say(report, f"{version}light load beside {name}", seen[version], _of_floods(flooded[version], cores))


def _of_floods(floods: Sequence[object], cores: float) -> str:
    """What a flood itself was answered, and how many cores both tenants' work took."""
    counted = [flood for flood in floods if isinstance(flood, Answers)]
    if not counted:
        return f", {cores:.1f} cores"
    rate = sum(flood.count for flood in counted) / sum(flood.seconds for flood in counted)
    failed = sum(sum(flood.failed.values()) for flood in counted)
    return f"; flood {rate:.0f}/s, {failed} failed, {cores:.1f} cores"


async def _deployment(version: str, running: Service) -> _Deployment:
    async with running.client() as client:
        await fill(running, client, INVOICES)
        found = await floods(client)
    key, light = await _neighbour(running)
    return _Deployment(version, running, key, light, found)


async def _neighbour(running: Service) -> tuple[str, Sequence[Call]]:
    """Another tenant of the same service: its key, and its light load."""
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        person = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "tenant_name": "Neighbour"}
        signed_up = (await client.post("/auth/signup", json=person)).raise_for_status().json()
        headers = {"authorization": f"Bearer {signed_up['token']}"}
        environments = (await client.get("/environments", headers=headers)).json()["environments"]
        headers["x-environment-id"] = environments[0]["id"]
        asked = {"name": "light", "type": "private_key"}
        made = (await client.post("/secrets/api/keys", json=asked, headers=headers)).raise_for_status().json()
        client.headers["x-api-key"] = key = made["api_key"]
        customer = (await client.post("/customers", json={"external_id": "light", "name": "Light"})).json()
    event = {"event_name": "light", "external_customer_id": "light", "properties": {"n": 1}}
    return key, [
        Call("summary", "GET", f"/v1/customers/{customer['id']}/invoices/summary", rate=8),
        Call("event", "POST", "/v1/events", _json(event), 8),
        Call("list", "GET", "/v1/invoices?limit=20", rate=4),
    ]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _say(report: Report, what: str, answers: Answers, besides: str = "") -> None:
    waits = sorted(wait for latencies in answers.latencies.values() for wait in latencies)
    if not waits:
        report.add(SECTION, what, f"nothing was answered{besides}", "3x alone, 0 failed")
        return
    median, late = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
    failed = sum(answers.failed.values())
    figures = f"p50 {median:.1f} ms, p99 {late:.0f} ms, {failed} failed{besides}"
    report.add(SECTION, what, figures, "3x alone, 0 failed")
