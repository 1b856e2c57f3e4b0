"""Errors that help a person who sees nothing but `message`, and what is done with fields that nobody knows."""

from __future__ import annotations

import re
import uuid
from typing import Any

import httpx
import msgspec
import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.api.endpoints import ENDPOINTS, Endpoint, branches

HEADER = "farthing-ignored-fields"
PRICE = {
    "type": "FIXED",
    "currency": "usd",
    "amount": "5",
    "billing_model": "FLAT_FEE",
    "billing_period": "MONTHLY",
    "invoice_cadence": "ADVANCE",
}


def new_customer(**more: Any) -> dict[str, Any]:
    return {"external_id": uuid.uuid4().hex, "name": "Ada", **more}


async def refused(http: httpx.AsyncClient, path: str, body: Any, **more: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body, **more)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()
    return error


async def test_the_message_says_the_first_reason_and_the_details_all(account: Account) -> None:
    error = await refused(account.http, "/customers", {"metadata": {"a": 5}})
    assert error["message"] == "metadata.a: must be a string, not an integer"
    assert error["details"] == {
        "external_id": "is required",
        "name": "is required",
        "metadata.a": "must be a string, not an integer",
    }


@pytest.mark.parametrize("body", [b"", b"  \n"])
async def test_an_empty_body_is_required_but_for_searches(account: Account, body: bytes) -> None:
    json = {"content-type": "application/json"}
    answer = await account.http.post("/customers", content=body, headers=json)
    assert (answer.status_code, answer.json()["message"]) == (400, "body: is required")
    assert (await account.http.post("/customers/search", content=b"", headers=json)).status_code == 200


async def test_a_key_in_the_wrong_header_is_told_the_right_one(account: Account) -> None:
    async with account.client() as stranger:
        for value in (f"Bearer {account.key}", account.key):
            answer = await stranger.get("/customers", headers={"authorization": value})
            assert answer.status_code == 401
            assert "x-api-key" in answer.json()["message"]
            assert account.key not in answer.text
        answer = await stranger.get("/customers", headers={"x-api-key": f"Bearer {account.key}"})
        assert answer.status_code == 401
        assert "Bearer" in answer.json()["message"]


async def test_a_path_without_the_prefix_says_so(account: Account) -> None:
    async with httpx.AsyncClient(base_url=account.base_url) as http:
        for path in ("/customers/search", "/features/search", "/events"):
            answer = await http.post(path, json={})
            assert answer.status_code in {404, 405}, answer.text
            assert f"/v1{path}" in answer.json()["message"]
        assert (await http.get("/nowhere")).json()["message"] == "Route not found"


async def test_an_external_id_in_place_of_an_id_is_recognised_in_the_callers_own_scope(
    account: Account, base_url: str, settings: Settings, database: Database
) -> None:
    body = new_customer()
    made = (await account.http.post("/customers", json=body)).json()
    external_id = body["external_id"]
    async with Account(base_url, settings, database) as other:
        for method, path, sent in (
            ("GET", f"/customers/{external_id}", None),
            ("PUT", f"/customers/{external_id}", {"name": "x"}),
            ("GET", f"/customers/{external_id}/invoices/summary", None),
            ("POST", "/events/usage", {"event_name": "e", "aggregation_type": "COUNT", "customer_id": external_id}),
        ):
            answer = await account.http.request(method, path, json=sent)
            assert answer.status_code == 404, answer.text
            assert made["id"] in answer.json()["message"], path
            stranger = await other.http.request(method, path, json=sent)
            assert stranger.status_code == 404
            assert made["id"] not in stranger.text


async def test_unknown_fields_are_named_and_taken(account: Account) -> None:
    persons = [{"first_name": "A", "b": 1}]
    answer = await account.http.post("/customers", json=new_customer(colour=1, contact_persons=persons))
    assert answer.status_code == 201
    assert set(answer.headers[HEADER].split(", ")) == {"colour", "contact_persons[0].b"}
    assert HEADER not in (await account.http.post("/customers", json=new_customer())).headers
    many = await account.http.post("/customers", json=new_customer(**{f"f{index}": 1 for index in range(50)}))
    assert len(many.headers[HEADER].split(", ")) == 20
    odd = await account.http.post("/customers", json=new_customer(**{"a,b\r\nx: y\u00e9" + "z" * 500: 1}))
    assert odd.status_code == 201
    assert odd.headers[HEADER].startswith("a%2Cb%0D%0Ax%3A y%C3%A9")
    assert len(odd.headers[HEADER]) < 200
    listed = await account.http.get("/customers", params={"colour": "x"})
    assert (listed.status_code, listed.headers[HEADER]) == (200, "colour")


async def test_unknown_fields_of_events_are_named(account: Account) -> None:
    event = {"event_name": "e", "external_customer_id": "c", "properties": {"any": {"thing": 1}}}
    assert HEADER not in (await account.http.post("/events", json=event)).headers
    answer = await account.http.post("/events", json={**event, "extra": {"z": 1}})
    assert (answer.status_code, answer.headers[HEADER]) == (202, "extra")
    batch = {"events": [event, {**event, "extra": 1}], "source": "x"}
    answer = await account.http.post("/events/bulk", json=batch)
    assert (answer.status_code, set(answer.headers[HEADER].split(", "))) == (202, {"events[1].extra", "source"})
    large: list[dict[str, Any]] = [{**event, "properties": {"x": "y" * 5000}} for _ in range(300)]
    large[299]["extra"] = 1
    answer = await account.http.post("/events/bulk", json={"events": large})
    assert (answer.status_code, answer.headers[HEADER]) == (202, "events[299].extra")
    answer = await account.http.post("/events/bulk", json=batch, headers={"farthing-strict": "true"})
    assert answer.status_code == 400


async def test_strict_requests_and_environments_refuse_unknown_fields(account: Account) -> None:
    strict = {"farthing-strict": "true"}
    error = await refused(account.http, "/customers", new_customer(colour=1), headers=strict)
    assert error["message"] == "colour: is not a known field"
    assert (await account.http.post("/customers", json=new_customer(), headers=strict)).status_code == 201
    odd = await account.http.post("/customers", json=new_customer(colour=1), headers={"farthing-strict": "maybe"})
    assert odd.status_code == 400
    setting = "/settings/request_config"
    answer = await account.http.put(setting, json={"value": {"refuse_unknown_fields": True}})
    assert answer.status_code == 200, answer.text
    await refused(account.http, "/customers", new_customer(colour=1))
    overruled = await account.http.post("/customers", json=new_customer(colour=1), headers={"farthing-strict": "false"})
    assert overruled.status_code == 201
    assert (await account.http.delete(setting)).status_code in {200, 204}
    assert (await account.http.post("/customers", json=new_customer(colour=1))).status_code == 201


async def test_a_plan_is_made_with_its_prices_or_not_at_all(account: Account) -> None:
    answer = await account.http.post("/plans", json={"name": "Team", "prices": [PRICE, {**PRICE, "amount": "7"}]})
    assert answer.status_code == 201, answer.text
    plan = answer.json()
    assert {price["amount"] for price in plan["prices"]} == {"5", "7"}
    found = await account.http.get("/prices", params={"plan_ids": plan["id"]})
    assert {price["amount"] for price in found.json()["items"] if price["entity_id"] == plan["id"]} == {"5", "7"}
    key = uuid.uuid4().hex
    bad = {"name": "x", "lookup_key": key, "prices": [PRICE, {**PRICE, "type": "USAGE"}]}
    error = await refused(account.http, "/plans", bad)
    assert next(iter(error["details"])).startswith("prices[1].")
    assert (await account.http.get(f"/plans/lookup/{key}")).status_code == 404


@pytest.mark.parametrize("permissions", [["customer:read"], [], {}, "all"])
async def test_permissions_of_a_key_mean_nothing_and_are_refused(account: Account, permissions: Any) -> None:
    body = {"name": "k", "type": "private_key", "permissions": permissions}
    assert "permissions" in (await refused(account.http, "/secrets/api/keys", body))["details"]


@pytest.mark.parametrize("blank", [" ", "\t", "  \n ", "\u00a0"])
async def test_an_external_id_of_blanks_is_refused(account: Account, blank: str) -> None:
    error = await refused(account.http, "/customers", new_customer(external_id=blank))
    assert error["details"] == {"external_id": "must not be blank"}


async def test_the_address_of_a_tenant_has_its_six_keys(account: Account) -> None:
    keys = {f"address_{part}" for part in ("line1", "line2", "city", "state", "postal_code", "country")}
    tenant = (await account.http.get(f"/tenants/{account.tenant_id}")).json()
    assert set(tenant["billing_details"]["address"]) == keys
    user = (await account.http.get("/users/me")).json()
    assert set(user["tenant"]["billing_details"]["address"]) == keys


LAST, FIRST = "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00Z"


def times_of(schema: dict[str, Any]) -> list[str]:
    """The fields of a body that hold a time."""
    properties: dict[str, Any] = next((part["properties"] for part in branches(schema) if "properties" in part), {})
    return [
        name for name, field in properties.items() if any(part.get("format") == "date-time" for part in branches(field))
    ]


def path_of(endpoint: Endpoint) -> str:
    """Its path below the prefix of the API, with an id that names nothing."""
    return re.sub(r"\{[^}]*\}", "x", endpoint.path).removeprefix("/v1")


BOUNDED = [
    endpoint
    for endpoint in ENDPOINTS
    if endpoint.body is not None and {"start_time", "end_time"} & set(times_of(endpoint.body))
]


@pytest.mark.parametrize("endpoint", BOUNDED, ids=lambda endpoint: endpoint.id)
async def test_the_largest_and_smallest_times_never_overflow(caller: httpx.AsyncClient, endpoint: Any) -> None:
    """Rule: docs/rules/conventions.md#times"""
    sample = dict.fromkeys(endpoint.body.get("required", ()), "x")
    body = {**sample, "start_time": FIRST, "end_time": LAST}
    answer = await caller.request(endpoint.method, path_of(endpoint), content=msgspec.json.encode(body))
    assert answer.status_code < 500, answer.text
    details = answer.json().get("details", {}) if answer.is_error else {}
    assert "RFC 3339" not in str(details)


TIMED = [
    (endpoint, name)
    for endpoint in ENDPOINTS
    if endpoint.method == "GET"
    for name, schema in endpoint.query.items()
    if any(part.get("format") == "date-time" for part in branches(schema))
]


@pytest.mark.parametrize(("endpoint", "name"), TIMED, ids=lambda value: value if isinstance(value, str) else value.id)
async def test_they_are_read_in_every_query_string(caller: httpx.AsyncClient, endpoint: Any, name: str) -> None:
    path = path_of(endpoint)
    for time in (FIRST, LAST, "2026-01-31T23:59:59.999999999Z"):
        answer = await caller.get(path, params={name: time})
        assert answer.status_code < 500, answer.text
        assert "RFC 3339" not in answer.text


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-02-01T00:00:00Z", LAST, 0),
        (FIRST, "2026-02-01T00:00:00Z", 1),
        (FIRST, "2026-01-31T23:59:59.998Z", 0),
        (FIRST, LAST, 1),
    ],
)
async def test_an_event_of_the_last_nanosecond_of_january_is_in_january(
    account: Account, first: str, last: str, expected: int
) -> None:
    name = uuid.uuid4().hex
    event = {"event_name": name, "external_customer_id": "c", "timestamp": "2026-01-31T23:59:59.999999999Z"}
    assert (await account.http.post("/events", json=event)).status_code == 202
    body = {"event_name": name, "aggregation_type": "COUNT", "start_time": first, "end_time": last}
    answer = await account.http.post("/events/query", json={"event_name": name, "start_time": first, "end_time": last})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["events"]) == expected
    usage = await account.http.post("/events/usage", json=body)
    assert usage.status_code == 200, usage.text
    assert int(usage.json().get("value") or 0) == expected
