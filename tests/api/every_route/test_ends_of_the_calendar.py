"""The first and the last times that clients can send, in every field and parameter that is a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import httpx

from tests.account import Account
from tests.api.endpoints import BY_ID, Endpoint, branches
from tests.api.tour.building import ACME, build
from tests.api.tour.calls import Call, OverHttp
from tests.api.tour.changing import change
from tests.api.tour.reading import lists

ENDS = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z")
DEEPEST = 3


def time_fields(schema: dict[str, Any], depth: int = 0) -> Iterator[tuple[str | int, ...]]:
    """Where a body may hold a time."""
    if depth == DEEPEST:
        return
    for part in branches(schema):
        for name, inner in part.get("properties", {}).items():
            if any(branch.get("format") == "date-time" for branch in branches(inner)):
                yield (name,)
            for path in time_fields(inner, depth + 1):
                yield (name, *path)
        if part.get("type") == "array" and "items" in part:
            for path in time_fields(part["items"], depth):
                yield (0, *path)


def with_value(body: Any, path: tuple[str | int, ...], value: str) -> Any:
    """A copy of `body` that holds `value` at `path`; what is missing on the way is made."""
    if not path:
        return value
    step, *rest = path
    if step == 0:
        items = copy.deepcopy(body) if isinstance(body, list) and body else [{}]
        return [with_value(items[0], tuple(rest), value), *items[1:]]
    fields = copy.deepcopy(body) if isinstance(body, dict) else {}
    fields[step] = with_value(fields.get(step), tuple(rest), value)
    return fields


def broken(answer: httpx.Response, asked: object) -> list[str]:
    """What is wrong with an answer: a failure of ours, or a refusal that names nothing."""
    if answer.status_code >= 500:
        return [f"{asked}: {answer.status_code} {answer.text}"]
    if answer.status_code == 400 and not answer.json().get("details"):
        return [f"{asked}: names no field: {answer.text}"]
    return []


async def test_no_time_at_either_end_of_the_calendar_breaks_a_call(account: Account) -> None:
    """Rule: docs/rules/conventions.md#times"""
    go = OverHttp(account)
    made = await build(go)
    await change(go, made)
    valid: dict[str, Call] = {call.operation: call for call, _ in go.made}
    for operation in ("getSubscriptionUsage", "getInvoicePreview"):
        valid[operation] = Call(operation, body={"subscription_id": made["subscription"]})
    for operation in ("getUsageAnalytics", "getDetailedCostAnalytics"):
        valid[operation] = Call(operation, body={"external_customer_id": ACME})
    valid["getUsageByMeter"] = Call("getUsageByMeter", body={"meter_id": made["meter"], "window_size": "DAY"})
    alike = lists()[4:]  # all lists read these times in the same way
    wrong: list[str] = []
    tried = 0
    for endpoint in BY_ID.values():
        call = valid.get(
            endpoint.id, Call(endpoint.id, dict.fromkeys(endpoint.path_parameters[:1], made["subscription"]))
        )
        if endpoint.public or endpoint in alike or (endpoint.path_parameters and not call.path):
            continue
        for end in ENDS:
            for path in time_fields(endpoint.body or {}):
                body = with_value(call.body, path, end)
                answer = await account.http.request(call.method, call.url, params=call.query or None, json=body)
                wrong += broken(answer, (endpoint.id, body))
                tried += 1
            for query in _time_parameters(endpoint):
                answer = await account.http.request(call.method, call.url, params={**call.query, query: end})
                wrong += broken(answer, (endpoint.id, query, end))
                tried += 1
    assert not wrong, "\n".join(wrong)
    assert tried > 100


def _time_parameters(endpoint: Endpoint) -> list[str]:
    return [
        name
        for name, schema in endpoint.query.items()
        if any(branch.get("format") == "date-time" for branch in branches(schema))
    ]
