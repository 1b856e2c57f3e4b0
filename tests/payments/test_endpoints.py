"""Every endpoint of payments: malformed input is refused in words, strangers find nothing, roles hold."""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account
from tests.payments.till import Till

BODIES: list[tuple[str, str]] = [
    ("POST", "/payments"),
    ("PUT", "/payments/{payment}"),
    ("POST", "/payments/customers/{customer}/setup/intent"),
    ("POST", "/connections"),
    ("PUT", "/connections/{connection}"),
    ("POST", "/connections/search"),
    ("POST", "/integrations/link"),
    ("DELETE", "/integrations/link"),
    ("POST", "/integrations/sync"),
]
RUBBISH = [
    b"{",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b'{"amount": 1e400, "name": 1, "payment_status": 1, "provider": 1, "limit": -1, "entity_id": 1}',
    b'{"metadata": {"a": "\\u0000"}, "name": "\\u0000"}',
    b"[" * 2000,
]


async def made(till: Till) -> dict[str, str]:
    connection = await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, process_payment=False)
    return {
        "payment": payment["id"],
        "customer": invoice["customer_id"],
        "connection": connection["id"],
        "invoice": invoice["id"],
    }


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_rubbish_is_refused_in_words(till: Till, method: str, path: str) -> None:
    ids = await made(till)
    for body in RUBBISH:
        answer = await till.account.http.request(
            method, path.format(**ids), content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["code"] == "validation_error", (body, answer.text)
        assert answer.json()["details"], body


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//example.com",
        "https://example.com@elsewhere.test/",
        "https://example.com\\@elsewhere.test/",
        "https://example.com/\r\nset-cookie: a=b",
        "https://example.com/\u202etxt",
        "https://exa mple.com/",
        "https://example.com:0/",
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_what_it_seems(till: Till, url: str) -> None:
    invoice = await till.invoice()
    sums = dict.fromkeys(("amount_due", "total", "subtotal"), "1")
    payment = {"amount": "1", "currency": "usd", "destination_type": "INVOICE", "payment_method_type": "PAYMENT_LINK"}
    asked = (
        ("/payments", {**payment, "destination_id": invoice["id"], "payment_gateway": "stripe"}, "success_url"),
        ("/payments", {**payment, "destination_id": invoice["id"], "payment_gateway": "stripe"}, "cancel_url"),
        (f"/payments/customers/{invoice['customer_id']}/setup/intent", {"provider": "stripe"}, "success_url"),
        ("/invoices", {**sums, "customer_id": invoice["customer_id"], "currency": "usd"}, "invoice_pdf_url"),
    )
    for path, body, field in asked:
        refused = await till.account.http.post(path, json={**body, field: url})
        assert refused.status_code == 400, refused.text
        assert refused.json()["details"] == {field: "must be an http or https URL without a user name or password"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/payments/pay_nobody"),
        ("PUT", "/payments/pay_nobody"),
        ("DELETE", "/payments/pay_nobody"),
        ("POST", "/payments/pay_nobody/process"),
        ("GET", "/connections/conn_nobody"),
        ("PUT", "/connections/conn_nobody"),
        ("DELETE", "/connections/conn_nobody"),
        ("GET", "/payments/customers/cust_nobody/methods?provider=stripe"),
        ("GET", "/payments/%27%20OR%201=1"),
    ],
)
async def test_an_unknown_id_is_not_found(till: Till, method: str, path: str) -> None:
    answer = await till.account.http.request(method, path, json={} if method == "PUT" else None)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


ENDPOINTS: list[tuple[str, str, Any]] = [
    ("GET", "/payments/{payment}", None),
    ("PUT", "/payments/{payment}", {"metadata": {"a": "b"}}),
    ("DELETE", "/payments/{payment}", None),
    ("POST", "/payments/{payment}/process", None),
    ("POST", "/invoices/{invoice}/payment/attempt", None),
    ("GET", "/customers/{customer}/payment-methods", None),
    ("GET", "/payments/customers/{customer}/methods?provider=stripe", None),
    ("POST", "/payments/customers/{customer}/setup/intent", {"provider": "stripe"}),
    ("GET", "/connections/{connection}", None),
    ("PUT", "/connections/{connection}", {"name": "mine"}),
    ("DELETE", "/connections/{connection}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
async def test_strangers_and_other_environments_find_nothing(
    till: Till, stranger: Account, method: str, path: str, body: Any
) -> None:
    ids = await made(till)
    before = await till.account.get(f"/payments/{ids['payment']}")
    other_key = await till.account.new_key(["super_admin"], environment_id=await till.account.new_environment())
    async with till.account.client(other_key) as next_door:
        for client in (stranger.http, next_door):
            answer = await client.request(method, path.format(**ids), json=body)
            assert answer.status_code == 404, answer.text
            for listing in ("/payments", "/connections"):
                found = (await client.get(listing)).json()
                assert found.get("items", found.get("connections")) == []
    assert await till.account.get(f"/payments/{ids['payment']}") == before


async def test_a_stranger_cannot_pay_link_or_sync_what_is_not_theirs(till: Till, stranger: Account) -> None:
    ids = await made(till)
    theirs = Till(stranger)
    await theirs.connect()
    body = {
        "destination_type": "INVOICE",
        "destination_id": ids["invoice"],
        "payment_method_type": "OFFLINE",
        "amount": "1",
        "currency": "usd",
        "process_payment": True,
    }
    await stranger.post("/payments", body, 400)
    await stranger.post("/payments", {**body, "destination_type": "CUSTOMER", "destination_id": ids["customer"]}, 404)
    link = {
        "entity_type": "customer",
        "entity_id": ids["customer"],
        "provider_type": "stripe",
        "provider_entity_id": "x",
    }
    await stranger.post("/integrations/link", link, 404)
    await stranger.post("/integrations/sync", {"entity_type": "invoice", "entity_id": ids["invoice"]}, 404)
    assert await till.standing({"id": ids["invoice"]}) == ("PENDING", "0", "100")


@pytest.mark.parametrize(
    ("method", "path", "body"), [*ENDPOINTS, ("POST", "/payments", {}), ("GET", "/payments", None)]
)
async def test_a_key_that_may_only_send_events_is_refused(till: Till, method: str, path: str, body: Any) -> None:
    ids = await made(till)
    key = await till.account.new_key(["event_ingestor"])
    async with till.account.client(key) as client:
        answer = await client.request(method, path.format(**ids), json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    async with till.account.client() as anonymous:
        assert (await anonymous.request(method, path.format(**ids), json=body)).status_code == 401
