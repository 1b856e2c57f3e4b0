"""Speaking to the API about events in as few words as a worked example has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx

from tests.account import Account

NAME = "call"


def at(text: str) -> str:
    """`10:05` on 2024-01-15, or a whole date and time; in UTC unless it says otherwise."""
    full = text if "T" in text else f"2024-01-15T{text}"
    clock = full.split("T")[1]
    if clock.count(":") == 1 and not clock.endswith("Z"):
        full += ":00"
    return full if full.endswith("Z") else f"{full}Z"


def sent(time: str, id: str | None = None, customer: str = "c1", source: str = "", **properties: Any) -> dict[str, Any]:
    """One event as a client sends it."""
    one = {
        "event_name": NAME,
        "external_customer_id": customer,
        "timestamp": at(time),
        "source": source,
        "properties": properties,
    }
    return {**one, "event_id": id} if id else one


def each(*values: Any) -> list[dict[str, Any]]:
    """One event a minute with `x` of that value; `...` leaves x out."""
    return [
        sent(f"10:{minute:02}", f"e{minute}", **({} if value is ... else {"x": value}))
        for minute, value in enumerate(values)
    ]


async def post(account: Account, path: str, body: Any, expect: int = 200) -> Any:
    """POST, and read the answer's numbers exactly."""
    answer: httpx.Response = await account.http.post(path, json=body)
    assert answer.status_code == expect, f"{answer.status_code} {answer.text}"
    return json.loads(answer.text, parse_float=Decimal)


async def new_meter(account: Account, **given: Any) -> str:
    """A meter of `call`, its id; by default the sum of `x`."""
    filters, reset = given.pop("filters", []), given.pop("reset", "BILLING_PERIOD")
    aggregation = {"type": "SUM", **given}
    if aggregation["type"] != "COUNT" and "expression" not in aggregation:
        aggregation.setdefault("field", "x")
    meter = await account.post(
        "/meters",
        {"name": "m", "event_name": NAME, "aggregation": aggregation, "filters": filters, "reset_usage": reset},
    )
    return str(meter["id"])


async def send(account: Account, events: Sequence[Mapping[str, Any]]) -> None:
    """Send events in one batch."""
    await account.post("/events/bulk", {"events": list(events)}, expect=202)


async def usage(account: Account, meter_id: str, start: str, end: str, **given: Any) -> Any:
    """What `/events/usage/meter` answers."""
    body = {"meter_id": meter_id, "start_time": at(start), "end_time": at(end), **given}
    return await post(account, "/events/usage/meter", body)


def series(answer: Mapping[str, Any]) -> dict[str, Decimal]:
    """The points of a usage answer by the start of their window."""
    return {result["window_size"]: Decimal(result["value"]) for result in answer.get("results", [])}
