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
from functools import partial
from typing import Any

import httpx
import msgspec

from benchmarks.harness import Service
from benchmarks.load import Call, closed

CLIENTS = 32
SLOW_CONNECTIONS = 200
IMPORTED_ROWS = 20_000
IMPORTED_CUSTOMERS = 5_000
CLOCK_SUBSCRIPTIONS = 20
CLONED_PLANS = 20
EXPORTS_AT_ONCE = 4
GROUPS = 2000
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
SIGN_UPS = 5_000
MONTHLY = {"billing_period": "MONTHLY", "billing_period_count": 1}
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
    target_plan_id = await _plan(client, f"target {event_name}")
    target = {"target_plan_id": target_plan_id, "proration_behavior": "create_prorations"}
    replaced = {**target, **MONTHLY, "billing_cadence": "RECURRING", "billing_cycle": "anniversary"}
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
        "previews of plan changes": _asking(
            _call(f"/v1/subscriptions/{subscription_id}/change/preview", replaced),
            _call(f"/v1/subscriptions/{subscription_id}/change/v2/preview", target),
        ),
        "batches of 1,000 large events": _asking(_batch("heavy", 1000, properties)),
        "events of costly meters": _asking(_batch(event_name, 200, costly)),
        "documents": _asking(*(Call("pdf", "GET", f"/v1/invoices/{invoice['id']}/pdf") for invoice in invoices)),
        "usage analytics of 2,000 groups": await _analytics(client),
        "pages of the dashboard": await _pages(client),
        "pages of a portal": await _portal(client),
        "sign-ups": _asking(*map(_sign_up, range(SIGN_UPS))),
        "sign-ins": _asking(_call("/v1/auth/login", {"email": "nobody@example.com", "password": "not this one"})),
        "slow bodies": _send_slowly,
        "moves of a test clock": await _clock_moves(client),
        "imports of events": partial(_import, "EVENTS", _events_file()),
        "imports of customers": partial(_import, "CUSTOMERS", _customers_file()),
        "exports": await _exports(client),
        "clones of an environment": await _clones(client),
        "webhooks to a receiver that never answers": await _webhooks(client, customers[0]["id"]),
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


async def _plan(client: httpx.AsyncClient, event_name: str) -> str:
    """A plan with a fee and a price of the dearest meter; its id."""
    aggregation = {"type": "SUM", "expression": "pow(x, y) + pow(y, x)"}
    meter = {"name": event_name, "event_name": event_name, "aggregation": aggregation, "reset_usage": "BILLING_PERIOD"}
    feature = await _made(client, "/features", {"name": event_name, "type": "metered", "meter": meter})
    plan = await _made(client, "/plans", {"name": "Plan"})
    terms = {"billing_period": "MONTHLY", "billing_model": "FLAT_FEE", "currency": "usd", "start_date": START}
    price = {**terms, "entity_type": "PLAN", "entity_id": plan["id"], "amount": "0.01"}
    of_usage = {"type": "USAGE", "invoice_cadence": "ARREAR", "meter_id": feature["meter_id"]}
    await _made(client, "/prices", {**price, **of_usage})
    await _made(client, "/prices", {**price, "type": "FIXED", "invoice_cadence": "ADVANCE"})
    return str(plan["id"])


async def _subscribe(client: httpx.AsyncClient, event_name: str, customers: int = 1) -> str:
    """A plan, and customers who subscribe to it; the last subscription."""
    plan_id, subscription_id = await _plan(client, event_name), ""
    for _ in range(customers):
        customer = await _made(client, "/customers", {"external_id": uuid.uuid4().hex, "name": "Subscriber"})
        wanted = {"customer_id": customer["id"], "plan_id": plan_id, "currency": "usd", "start_date": START}
        subscription_id = (await _made(client, "/subscriptions", {**wanted, **MONTHLY}))["id"]
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
    headers, environments = await _tenant(client, "Clock")
    headers["x-environment-id"] = environments[-1]
    path = f"/environments/{environments[-1]}/clock"
    async with httpx.AsyncClient(base_url=client.base_url, timeout=120, headers=headers) as owner:
        await _made(owner, path, {"frozen_time": START})
        await _subscribe(owner, "costly", CLOCK_SUBSCRIPTIONS)
    years = iter(range(1, 100))

    async def move(running: Service, seconds: float) -> None:
        end = time.perf_counter() + seconds
        async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=120) as mover:
            while time.perf_counter() < end:
                await mover.post(path, json={"frozen_time": f"{START.year + next(years)}-01-01T00:00:00Z"})

    return move


def _events_file() -> bytes:
    rows = ((START + timedelta(seconds=number), number) for number in range(IMPORTED_ROWS))
    return _csv(
        ["event_name", "external_customer_id", "timestamp", "properties.tokens"],
        [["tokens", "bench", moment.isoformat(), number % 900] for moment, number in rows],
    )


def _customers_file() -> bytes:
    return _csv(["external_id", "name"], [[f"imported-{n}", uuid.uuid4().hex] for n in range(IMPORTED_CUSTOMERS)])


def _csv(columns: list[str], rows: list[list[Any]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([columns, *rows])
    return file.getvalue().encode()


async def _import(entity: str, file: bytes, running: Service, seconds: float) -> None:
    """The file, again and again, each time to its end."""
    end = time.perf_counter() + seconds
    async with running.client() as client:
        while time.perf_counter() < end:
            upload = (await client.post("/tasks/uploads", content=file)).raise_for_status().json()
            of_file = {"file_type": "CSV", "file_provider": "farthing", "upload_id": upload["upload_id"]}
            wanted = {"task_type": "IMPORT", "entity_type": entity, **of_file}
            await _ended(client, (await _made(client, "/tasks", wanted))["workflow_id"])


async def _ended(client: httpx.AsyncClient, task_id: str) -> None:
    """Return when a task has come to its end."""
    while True:
        task = (await client.get(f"/tasks/{task_id}")).raise_for_status().json()
        if task["task_status"] not in {"PENDING", "PROCESSING"}:
            return
        await asyncio.sleep(0.1)


async def _exports(client: httpx.AsyncClient) -> Flood:
    """Files of all invoices, of all events and of usage, each to its end."""
    connection = await _made(client, "/connections", {"name": "Folder", "provider_type": "local"})
    wanted = {"connection_id": connection["id"], "interval": "daily", "job_config": {}}
    paths = []
    for entity in ("invoice", "events", "usage_analytics"):
        schedule = await _made(client, "/tasks/scheduled", {**wanted, "entity_type": entity})
        paths.append(f"/tasks/scheduled/{schedule['id']}/run")
    window = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-12-31T00:00:00Z"}

    async def export(running: Service, seconds: float) -> None:
        end = time.perf_counter() + seconds
        async with running.client() as exporting:

            async def run(number: int) -> None:
                while time.perf_counter() < end:
                    run = await _made(exporting, paths[number % len(paths)], window)
                    await _ended(exporting, run["workflow_id"])

            await asyncio.gather(*map(run, range(EXPORTS_AT_ONCE)))

    return export


async def _clones(client: httpx.AsyncClient) -> Flood:
    """Copies of the plans of one environment of a tenant of its own into the other."""
    headers, environments = await _tenant(client, "Clones")
    source, target = environments
    async with httpx.AsyncClient(base_url=client.base_url, timeout=120, headers=headers) as owner:
        owner.headers["x-environment-id"] = source
        for number in range(CLONED_PLANS):
            await _plan(owner, f"cloned {number}")
    path = f"/environments/{source}/clone"

    async def clone(running: Service, seconds: float) -> None:
        end = time.perf_counter() + seconds
        async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=120) as owner:
            while time.perf_counter() < end:
                await owner.post(path, json={"target_environment_id": target})

    return clone


async def _tenant(client: httpx.AsyncClient, name: str) -> tuple[dict[str, str], list[str]]:
    """A tenant of its own: the headers of whoever signed up, and two environments."""
    person = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex, "tenant_name": name}
    async with httpx.AsyncClient(base_url=client.base_url, timeout=120) as owner:
        headers = {"authorization": f"Bearer {(await _made(owner, '/auth/signup', person))['token']}"}
        owner.headers.update(headers)
        first = (await owner.get("/environments")).raise_for_status().json()["environments"][0]
        second = await _made(owner, "/environments", {"name": name, "type": "development"})
    return headers, [first["id"], second["id"]]


async def _portal(client: httpx.AsyncClient) -> Flood:
    """The page of a customer in the portal."""
    customer = await _made(client, "/customers", {"external_id": uuid.uuid4().hex, "name": "Visitor"})
    link = (await client.get(f"/customers/portal/{customer['external_id']}")).raise_for_status().json()
    async with httpx.AsyncClient(timeout=120, follow_redirects=True) as browser:
        page = (await browser.get(link["url"])).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return _asking(Call("page", "GET", page.url.raw_path.decode(), headers=(("cookie", cookies),)))


def _sign_up(number: int) -> Call:
    person = {"email": f"{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex, "tenant_name": f"Many {number}"}
    return _call("/v1/auth/signup", person)


async def _webhooks(client: httpx.AsyncClient, customer_id: str) -> Flood:
    """Changes of a customer, each of which is told to four receivers that take it and never answer."""
    changes = [
        Call("change", "PUT", f"/v1/customers/{customer_id}", msgspec.json.encode({"name": f"Name {number}"}))
        for number in range(1_000)
    ]

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def change(running: Service, seconds: float) -> object:
        async with await asyncio.start_server(keep, "127.0.0.1", 0) as server, running.client() as owner:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            endpoints = [await _made(owner, "/webhooks/endpoints", {"url": f"{url}/{n}"}) for n in range(4)]
            changed = await closed(running.port, running.key, changes, CLIENTS, seconds)
            for endpoint in endpoints:
                (await owner.delete(f"/webhooks/endpoints/{endpoint['id']}")).raise_for_status()
            return changed

    return change
