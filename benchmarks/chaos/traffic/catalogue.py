"""What the load needs before it begins: two tenants, one of them with a test clock, each with a meter and two plans."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from benchmarks.chaos.service.deployment import KEY, START_SECONDS, Deployment
from benchmarks.chaos.traffic.client import Client, open_http

EVENT_NAME = "chaos.used"
CLOCK_START = datetime(2025, 1, 1, tzinfo=UTC)
_PRICE = {
    "entity_type": "PLAN",
    "currency": "usd",
    "price_unit_type": "FIAT",
    "billing_model": "FLAT_FEE",
    "billing_period": "MONTHLY",
    "billing_cadence": "RECURRING",
    "start_date": "2020-01-01T00:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant of the deployment, as its client sees it."""

    client: Client
    environment_id: str
    meter_id: str
    small_plan_id: str
    large_plan_id: str


async def wait_until_ready(deployment: Deployment, seconds: float = START_SECONDS) -> None:
    """Wait for the first start. Raises RuntimeError with the server's last words when it does not come."""
    deadline = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=deployment.url, timeout=5, trust_env=False) as http:
        while time.monotonic() < deadline and not deployment.server.has_ended:
            try:
                if (await http.get("/health/ready")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{deployment.server.log.read_text()[-2000:]}")


async def open_tenants(deployment: Deployment) -> tuple[Tenant, Tenant]:
    """The first tenant, whose clock runs, and one that signs up, whose clock stands where it is set."""
    running = await _with_catalogue(Client(open_http(deployment.url, KEY)), await _first_environment(deployment))
    async with httpx.AsyncClient(base_url=f"{deployment.url}/v1", timeout=30, trust_env=False) as http:
        account = {"email": "clock@example.com", "password": "correct horse battery", "tenant_name": "Clock"}
        token = _checked(await http.post("/auth/signup", json=account))["token"]
        http.headers["authorization"] = f"Bearer {token}"
        environments = _checked(await http.get("/environments"))["environments"]
        environment_id = environments[0]["id"]
        http.headers["x-environment-id"] = environment_id
        body = {"name": "chaos", "type": "private_key"}
        key = _checked(await http.post("/secrets/api/keys", json=body))["api_key"]
    clocked = Client(open_http(deployment.url, key))
    await _made(clocked, f"/environments/{environment_id}/clock", {"frozen_time": CLOCK_START.isoformat()})
    return running, await _with_catalogue(clocked, environment_id)


async def _first_environment(deployment: Deployment) -> str:
    async with open_http(deployment.url, KEY) as http:
        listed = _checked(await http.get("/environments"))
    environment_id: str = listed["environments"][0]["id"]
    return environment_id


async def _with_catalogue(client: Client, environment_id: str) -> Tenant:
    feature = await _made(
        client,
        "/features",
        {
            "name": "Usage",
            "lookup_key": "usage",
            "type": "metered",
            "meter": {
                "name": "Usage",
                "event_name": EVENT_NAME,
                "aggregation": {"type": "SUM", "field": "x"},
                "reset_usage": "BILLING_PERIOD",
            },
        },
    )
    plans = []
    for name, fee in (("Small", "10"), ("Large", "20")):
        plan = await _made(client, "/plans", {"name": name})
        prices = (
            {"type": "FIXED", "invoice_cadence": "ADVANCE", "amount": fee},
            {"type": "USAGE", "invoice_cadence": "ARREAR", "amount": "0.02", "meter_id": feature["meter_id"]},
        )
        for price in prices:
            await _made(client, "/prices", {**_PRICE, "entity_id": plan["id"], **price})
        plans.append(plan["id"])
    return Tenant(client, environment_id, feature["meter_id"], *plans)


async def _made(client: Client, path: str, body: Any) -> Any:
    return _checked(await client.http.post(path, json=body))


def _checked(answer: httpx.Response) -> Any:
    if answer.status_code >= 300:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return answer.json()
