"""The short way to handlers of JSON bodies answers as the framework's own way, which a slash at the end takes."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.api.transport.direct import direct_endpoints
from farthing.app import PROVIDED
from tests.account import Account
from tests.application import routed_application

NEW = b'{"external_id": "acme", "name": "Acme"}'
PER_REQUEST = {"x-request-id", "date", "content-length"}


async def answers(account: Account, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers, without what differs for every request."""
    answer = await account.http.post(
        path, content=body, headers={"content-type": "application/json", "accept": "application/json", **headers}
    )
    kept = {name: value for name, value in answer.headers.items() if name not in PER_REQUEST}
    return answer.status_code, answer.json(), kept


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"{", {}, id="no JSON"),
        pytest.param(b"", {}, id="no body"),
        pytest.param(b"  ", {}, id="a blank body"),
        pytest.param(b'{"name": "Acme"}', {}, id="a field is missing"),
        pytest.param(b'{"external_id": 1, "name": "Acme"}', {}, id="a field of another type"),
        pytest.param(NEW, {"x-api-key": "sk_unknown"}, id="an unknown key"),
        pytest.param(NEW, {"idempotency-key": "two words"}, id="a key that is none"),
        pytest.param(b'{"external_id": "taken", "name": "Acme"}', {}, id="a conflict"),
    ],
)
async def test_a_refusal_is_the_same_on_both_ways(account: Account, body: bytes, headers: dict[str, str]) -> None:
    await account.post("/customers", {"external_id": "taken", "name": "Taken"})
    direct = await answers(account, "/customers", body, headers)
    assert direct[0] >= 400
    assert direct == await answers(account, "/customers/", body, headers)


async def test_a_success_is_the_same_on_both_ways(account: Account) -> None:
    status, direct, headers = await answers(account, "/customers", NEW, {})
    other = await answers(account, "/customers/", NEW.replace(b"acme", b"else"), {})
    assert (status, headers) == (other[0], other[2]) == (201, headers)
    assert direct.keys() == other[1].keys()


def test_the_usual_writes_take_the_short_way() -> None:
    direct = direct_endpoints(routed_application(), {**PROVIDED, "request": lambda request: request}, "session")
    for path in ("/v1/customers", "/v1/events", "/v1/events/bulk", "/v1/invoices", "/v1/payments"):
        assert ("POST", path) in direct
    # it takes parameters of the query, which only the framework reads
    assert ("PUT", "/v1/customers") not in direct
