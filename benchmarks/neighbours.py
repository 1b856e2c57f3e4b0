"""Two tenants in one process: what a light load of one takes alone, and beside a flood of the other.

The light load is open (20 requests a second: summaries, events, lists), so that its waits count; the flood is closed,
from 32 connections in a process of its own. A tenant keeps to its share if the median beside it is at most about three
times that alone and nothing of the light load fails. Alone is measured before and after: a machine may have other work.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from benchmarks.harness import Report, Service, service
from benchmarks.load import Answers, Call, closed, open_in_process
from benchmarks.reads.reports import fill

SECTION = "Neighbours"
CLIENTS = 32
SECONDS = 6.0
LEAD_SECONDS = 2.5
"""How long the flood is under way before the light load begins."""
PASSWORD = "neighbours of a benchmark"


async def measure(report: Report) -> None:
    """The light load beside each flood of a tenant with 100,000 invoices."""
    with service() as running:
        async with running.client() as client:
            await fill(running, client)
            floods = await _floods(client)
        key, light = await _neighbour(running)
        alone = await open_in_process(running.port, key, light, SECONDS)
        _say(report, "alone", alone)
        for name, calls in floods.items():
            flood = asyncio.create_task(closed(running.port, running.key, calls, CLIENTS, SECONDS + LEAD_SECONDS))
            await asyncio.sleep(LEAD_SECONDS)
            _say(report, f"beside {name}", await open_in_process(running.port, key, light, SECONDS))
            await flood
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


async def _floods(client: httpx.AsyncClient) -> Mapping[str, Sequence[Call]]:
    """What the large tenant asks for, again and again."""
    invoices = (await client.get("/invoices", params={"limit": 20})).raise_for_status().json()["items"]
    properties = {f"property {number}": "x" * 200 for number in range(60)}
    events = [{"event_name": "heavy", "external_customer_id": "bench", "properties": properties}] * 1000
    named = {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": "e"}}
    return {
        "lists of 1,000": [
            Call("list", "GET", "/v1/invoices?limit=1000"),
            Call("list", "GET", "/v1/customers?limit=1000"),
        ],
        "lists of 100": [
            Call("list", "GET", "/v1/invoices?limit=100"),
            Call("list", "GET", "/v1/customers?limit=100"),
            Call("search", "POST", "/v1/customers/search", _json({"filters": [named], "limit": 100})),
        ],
        "searches": [Call("search", "POST", "/v1/customers/search", _json({"filters": [named], "limit": 1000}))],
        "reports": [
            _report("net_billing", "breakdown", dimensions=["customer_id"]),
            _report("deferred_revenue", "timeseries", grain="month"),
            _report("recognized_revenue", "breakdown", dimensions=["customer_id"]),
        ],
        "batches of 1,000 large events": [Call("bulk", "POST", "/v1/events/bulk", _json({"events": events}))],
        "documents": [Call("pdf", "GET", f"/v1/invoices/{invoice['id']}/pdf") for invoice in invoices],
    }


def _report(key: str, shape: str, **asked: Any) -> Call:
    body = {"range": "2026-01-01..2027-01-01", "shape": shape, **asked}
    return Call("report", "POST", f"/v1/analytics/reports/{key}/query", _json(body))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _say(report: Report, what: str, answers: Answers) -> None:
    waits = sorted(wait for latencies in answers.latencies.values() for wait in latencies)
    median, late = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
    failed = sum(answers.failed.values())
    report.add(
        SECTION, f"light load {what}", f"p50 {median:.0f} ms, p99 {late:.0f} ms, {failed} failed", "3x alone, 0 failed"
    )
