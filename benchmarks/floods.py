"""What one tenant may do to another: requests that are costly, many, large or slow, and work beside them."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from benchmarks.harness import Service
from benchmarks.load import Call, closed

CLIENTS = 32
SLOW_CONNECTIONS = 200
IMPORTED_ROWS = 20_000
CLOCK_SUBSCRIPTIONS = 20
GROUPS = 2000
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
START = datetime(2026, 1, 1, tzinfo=UTC)

Flood = Callable[[Service, float], Coroutine[None, None, object]]
"""Keeps a service busy for so many seconds."""


async def floods(client: httpx.AsyncClient) -> Mapping[str, Flood]:
    """What a tenant with 100,000 invoices of 5,000 customers asks for, again and again; the client is his."""
    invoices = (await client.get("/invoices", params={"limit": 20})).raise_for_status().json()["items"]
    customers = (await client.get("/customers", params={"limit": 1000})).raise_for_status().json()["items"]
    named = {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": "e"}}
    ids = {"array": [customer["external_id"] for customer in customers]}
    listed = {"field": "external_id", "operator": "in", "data_type": "array", "value": ids}
    properties = {f"property {number}": "x" * 200 for number in range(60)}
    costly = {"x": "1.0001", "y": "1234.5"}
    event_name = f"costly {uuid.uuid4().hex}"
    subscription_id = await _subscribe(client, event_name)
    return {
        "lists of 100": _asking(
            Call("list", "GET", "/v1/invoices?limit=100"),
            Call("list", "GET", "/v1/customers?limit=100"),
            _call("/v1/customers/search", {"filters": [named], "limit": 100}),
        ),
        "lists of 1,000": _asking(
            Call("list", "GET", "/v1/invoices?limit=1000"), Call("list", "GET", "/v1/customers?limit=1000")
        ),
        "searches": _asking(_call("/v1/customers/search", {"filters": [named], "limit": 1000})),
        "filters of 5,000 values": _asking(_call("/v1/customers/search", {"filters": [listed] * 5, "limit": 20})),
        "reports": _asking(
            _report("net_billing", "breakdown", dimensions=["customer_id"]),
            _report("deferred_revenue", "timeseries", grain="month"),
            _report("recognized_revenue", "breakdown", dimensions=["customer_id"]),
        ),
        "previews": _asking(
            _call("/v1/invoices/preview", {"subscription_id": subscription_id}),
            _call(f"/v1/subscriptions/{subscription_id}/cancel/preview", {"cancellation_type": "immediate"}),
        ),
        "batches of 1,000 large events": _asking(_batch("heavy", 1000, properties)),
        "events of costly meters": _asking(_batch(event_name, 200, costly)),
        "documents": _asking(*(Call("pdf", "GET", f"/v1/invoices/{invoice['id']}/pdf") for invoice in invoices)),
        "usage analytics of 2,000 groups": await _analytics(client),
        "pages of the dashboard": await _pages(client),
        "sign-ins": _asking(_call("/v1/auth/login", {"email": "nobody@example.com", "password": "not this one"})),
        "slow bodies": _send_slowly,
        "moves of a test clock": await _clock_moves(client),
        "imports of events": _import_events,
    }


def _asking(*calls: Call) -> Flood:
    async def ask(running: Service, seconds: float) -> object:
        return await closed(running.port, running.key, calls, CLIENTS, seconds)

    return ask


def _call(path: str, body: Any) -> Call:
    return Call("post", "POST", path, msgspec.json.encode(body))


def _report(key: str, shape: str, **asked: Any) -> Call:
    return _call(f"/v1/analytics/reports/{key}/query", {"range": "2026-01-01..2027-01-01", "shape": shape, **asked})


def _batch(event_name: str, count: int, properties: Mapping[str, str]) -> Call:
    event = {"event_name": event_name, "external_customer_id": "bench", "properties": properties}
    return _call("/v1/events/bulk", {"events": [event] * count})


async def _subscribe(client: httpx.AsyncClient, event_name: str, customers: int = 1) -> str:
    """A plan with a fee and a price of the dearest meter, and customers who subscribe to it; the last subscription."""
    aggregation = {"type": "SUM", "expression": "pow(x, y) + pow(y, x)"}
    meter = {"name": event_name, "event_name": event_name, "aggregation": aggregation, "reset_usage": "BILLING_PERIOD"}
    feature = await _made(client, "/features", {"name": event_name, "type": "metered", "meter": meter})
    plan = await _made(client, "/plans", {"name": "Plan"})
    terms = {"billing_period": "MONTHLY", "billing_model": "FLAT_FEE", "currency": "usd", "start_date": START}
    price = {**terms, "entity_type": "PLAN", "entity_id": plan["id"], "amount": "0.01"}
    of_usage = {"type": "USAGE", "invoice_cadence": "ARREAR", "meter_id": feature["meter_id"]}
    await _made(client, "/prices", {**price, **of_usage})
    await _made(client, "/prices", {**price, "type": "FIXED", "invoice_cadence": "ADVANCE"})
    subscription_id = ""
    for _ in range(customers):
        customer = await _made(client, "/customers", {"external_id": uuid.uuid4().hex, "name": "Subscriber"})
        wanted = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "start_date": START}
        monthly = {**wanted, "billing_period": "MONTHLY", "billing_period_count": 1}
        subscription_id = (await _made(client, "/subscriptions", monthly))["id"]
    return subscription_id


async def _analytics(client: httpx.AsyncClient) -> Flood:
    """Usage with its cost, split by a property that has as many values as events were sent."""
    event_name = f"split {uuid.uuid4().hex}"
    await _subscribe(client, event_name)
    events = [
        {
            "event_name": event_name,
            "external_customer_id": "split",
            "properties": {"x": "1", "y": "1", "of": str(number)},
        }
        for number in range(GROUPS)
    ]
    for first in range(0, GROUPS, 1000):
        (await client.post("/events/bulk", json={"events": events[first : first + 1000]})).raise_for_status()
    asked = {"group_by": ["feature_id", "properties.of"], "window_size": "DAY"}
    return _asking(_call("/v1/events/analytics", asked))


async def _pages(client: httpx.AsyncClient) -> Flood:
    """Pages that somebody looks at who signed up a moment ago."""
    person = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex, "tenant_name": "Pages"}
    await _made(client, "/auth/signup", person)
    root = str(client.base_url.copy_with(path="/"))
    async with httpx.AsyncClient(base_url=root, timeout=120) as browser:
        form_token = _FORM_TOKEN.search((await browser.get("/sign-in")).text)
        assert form_token is not None, "a form has a token"
        form = {"email": person["email"], "password": person["password"], "form_token": form_token[1]}
        answer = await browser.post("/sign-in", data=form)
        assert answer.status_code == 303, answer.text
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    paths = ("/", "/customers", "/invoices", "/reports")
    return _asking(*(Call("page", "GET", path, headers=(("cookie", cookies),)) for path in paths))


async def _made(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    response = await client.post(path, content=msgspec.json.encode(body))
    response.raise_for_status()
    made: dict[str, Any] = response.json()
    return made


async def _send_slowly(running: Service, seconds: float) -> None:
    """Connections that send their body a byte a second."""

    async def drip() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nx-api-key: {running.key}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode())
        for _ in range(int(seconds)):
            with suppress(ConnectionError):
                writer.write(b" ")
                await writer.drain()
            await asyncio.sleep(1)
        writer.close()

    await asyncio.gather(*(drip() for _ in range(SLOW_CONNECTIONS)))


async def _clock_moves(client: httpx.AsyncClient) -> Flood:
    """Moves over a year by a tenant of its own, with subscriptions that are billed by the month."""
    person = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex, "tenant_name": "Clock"}
    async with httpx.AsyncClient(base_url=client.base_url, timeout=120) as owner:
        owner.headers["authorization"] = f"Bearer {(await _made(owner, '/auth/signup', person))['token']}"
        environment = await _made(owner, "/environments", {"name": "Clock", "type": "development"})
        owner.headers["x-environment-id"] = environment["id"]
        headers, path = dict(owner.headers), f"/environments/{environment['id']}/clock"
        await _made(owner, path, {"frozen_time": START})
        await _subscribe(owner, "costly", CLOCK_SUBSCRIPTIONS)
    years = iter(range(1, 100))

    async def move(running: Service, seconds: float) -> None:
        end = time.perf_counter() + seconds
        async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=120) as mover:
            while time.perf_counter() < end:
                await mover.post(path, json={"frozen_time": f"{START.year + next(years)}-01-01T00:00:00Z"})

    return move


async def _import_events(running: Service, seconds: float) -> None:
    """Files of events, one after the other, each to its end."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["event_name", "external_customer_id", "timestamp", "properties.tokens"])
    for number in range(IMPORTED_ROWS):
        writer.writerow(["tokens", "bench", (START + timedelta(seconds=number)).isoformat(), number % 900])
    end = time.perf_counter() + seconds
    async with running.client() as client:
        while time.perf_counter() < end:
            upload = (await client.post("/tasks/uploads", content=file.getvalue().encode())).raise_for_status().json()
            of_file = {"file_type": "CSV", "file_provider": "farthing", "upload_id": upload["upload_id"]}
            wanted = {"task_type": "IMPORT", "entity_type": "EVENTS", **of_file}
            task_id = (await _made(client, "/tasks", wanted))["workflow_id"]
            while True:
                task = (await client.get(f"/tasks/{task_id}")).raise_for_status().json()
                if task["task_status"] not in {"PENDING", "PROCESSING"}:
                    break
                await asyncio.sleep(0.1)
