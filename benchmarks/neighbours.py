"""Two tenants in one process: what a light load of one takes alone, and beside a flood of the other.

The light load is open (20 requests a second: summaries, events, lists), so that its waits count; most floods are
closed, from 32 connections in a process of its own. A tenant keeps to its share if the median beside it is at most
about three times that alone and nothing of the light load fails. Alone is measured before and after: a machine may have
other work.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import httpx

from benchmarks.floods import floods
from benchmarks.harness import Report, Service, service
from benchmarks.load import Answers, Call, open_in_process
from benchmarks.reads.reports import fill

SECTION = "Neighbours"
SECONDS = 6.0
LEAD_SECONDS = 2.5
"""How long the flood is under way before the light load begins."""
PASSWORD = "neighbours of a benchmark"


async def measure(report: Report) -> None:
    """The light load beside each flood of a tenant with 100,000 invoices."""
    with service() as running:
        async with running.client() as client:
            await fill(running, client)
            found = await floods(client)
        key, light = await _neighbour(running)
        alone = await open_in_process(running.port, key, light, SECONDS)
        _say(report, "alone", alone)
        for name, flood in found.items():
            flooding = asyncio.create_task(flood(running, SECONDS + LEAD_SECONDS))
            await asyncio.sleep(LEAD_SECONDS)
            _say(report, f"beside {name}", await open_in_process(running.port, key, light, SECONDS))
            await flooding
        _say(report, "alone, afterwards", await open_in_process(running.port, key, light, SECONDS))


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


def _say(report: Report, what: str, answers: Answers) -> None:
    waits = sorted(wait for latencies in answers.latencies.values() for wait in latencies)
    median, late = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
    failed = sum(answers.failed.values())
    report.add(
        SECTION, f"light load {what}", f"p50 {median:.0f} ms, p99 {late:.0f} ms, {failed} failed", "3x alone, 0 failed"
    )
