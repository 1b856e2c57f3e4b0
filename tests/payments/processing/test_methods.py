"""Saved methods: how they get there, how they are listed, and collecting an invoice with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account
from tests.payments.till import DECLINED, OK, Till


async def save(till: Till, customer: str, method: str = OK, **more: Any) -> dict[str, Any]:
    setup: dict[str, Any] = await till.account.post(
        f"/payments/customers/{customer}/setup/intent", {"provider": "stripe", **more}
    )
    await till.act(setup["checkout_session_id"], "succeed", method=method)
    return setup


async def methods(till: Till, customer: str) -> list[dict[str, Any]]:
    answer = await till.account.get(f"/payments/customers/{customer}/methods", provider="stripe")
    assert answer["total_count"] == len(answer["data"])
    found: list[dict[str, Any]] = answer["data"]
    return found


async def test_a_setup_page_saves_a_method(till: Till) -> None:
    await till.connect()
    customer = await till.desk.customer()
    assert await methods(till, customer) == []
    setup = await save(till, customer)
    assert setup["customer_id"] == customer
    assert isinstance(setup["created_at"], int)
    assert setup["expires_at"] > setup["created_at"]
    assert setup["usage"] == "off_session"
    (saved,) = await methods(till, customer)
    assert (saved["status"], saved["is_default"], saved["can_auto_charge"]) == ("ACTIVE", True, True)


async def test_the_default_moves_only_when_asked(till: Till) -> None:
    await till.connect()
    customer = await till.desk.customer()
    await save(till, customer)
    (first,) = await methods(till, customer)
    await save(till, customer)
    assert [m["id"] for m in await methods(till, customer) if m["is_default"]] == [first["id"]]
    await save(till, customer, set_default=True)
    found = await methods(till, customer)
    assert found[0]["is_default"]
    assert found[0]["id"] != first["id"]
    assert [m["is_default"] for m in found[1:]] == [False, False]


async def test_the_provider_may_be_named_in_the_body_of_a_get(till: Till) -> None:
    await till.connect()
    customer = await till.desk.customer()
    await save(till, customer)
    path = f"/payments/customers/{customer}/methods"
    answer = await till.account.http.request("GET", path, json={"provider": "stripe"})
    assert answer.json()["total_count"] == 1
    for body in (b"", b"{}", b"[", b'{"provider": 1}', b'{"provider": "paypal"}'):
        answer = await till.account.http.request("GET", path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


async def test_one_provider_s_failure_hides_nothing_of_another_s(till: Till) -> None:
    await till.connect()
    body = {"name": "live", "provider_type": "razorpay", "encrypted_secret_data": {"key_id": "k"}}
    await till.account.post("/connections", body)
    customer = await till.desk.customer()
    await save(till, customer)
    answer = await till.account.get(f"/customers/{customer}/payment-methods")
    failing, working = answer["providers"]
    assert (failing["provider"], failing["items"]) == ("razorpay", [])
    assert "razorpay" in failing["error"]["message"]
    assert (working["provider"], len(working["items"])) == ("stripe", 1)
    assert "error" not in working
    only = await till.account.get(f"/customers/{customer}/payment-methods", providers="stripe,whop")
    assert [found["provider"] for found in only["providers"]] == ["stripe", "whop"]
    assert only["providers"][1]["error"]
    await till.account.get(f"/customers/{customer}/payment-methods", 400, providers="paypal")
    await till.account.get("/customers/cust_nobody/payment-methods", 404)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no provider"),
        pytest.param({"provider": "razorpay"}, id="a provider without setup"),
        pytest.param({"provider": "stripe", "colour": "red"}, id="an unknown field"),
        pytest.param({"provider": "stripe", "usage": "sometimes"}, id="an unknown usage"),
        pytest.param({"provider": "stripe", "payment_method_types": ["cheque"]}, id="an unknown type"),
        pytest.param({"provider": "stripe", "success_url": "ftp://x"}, id="a url that is not http"),
    ],
)
async def test_a_setup_intent_is_strict(till: Till, body: dict[str, Any]) -> None:
    await till.connect()
    customer = await till.desk.customer()
    answer = await till.account.post(f"/payments/customers/{customer}/setup/intent", body, 400)
    assert answer["code"] == "validation_error"


async def test_a_setup_needs_the_customer_and_the_connection(till: Till) -> None:
    await till.account.post("/payments/customers/cust_nobody/setup/intent", {"provider": "stripe"}, 404)
    customer = await till.desk.customer()
    answer = await till.account.post(f"/payments/customers/{customer}/setup/intent", {"provider": "stripe"}, 400)
    assert answer["code"] == "invalid_operation"


async def test_a_card_payment_without_a_method_takes_the_default(till: Till) -> None:
    await till.connect()
    customer = await till.desk.customer()
    invoice = await till.invoice(customer=customer)
    answer = await till.charge(invoice, method="", expect=400)
    assert "no saved payment method" in answer["details"]["reason"]
    await save(till, customer)
    payment = await till.pay(invoice, payment_method_type="CARD")
    assert (payment["payment_status"], payment["payment_gateway"]) == ("SUCCEEDED", "stripe")
    (saved,) = await methods(till, customer)
    assert payment["payment_method_id"] == saved["id"]


async def test_another_customer_s_method_cannot_be_charged(till: Till) -> None:
    await till.connect()
    owner, other = await till.desk.customer(), await till.desk.customer()
    await save(till, owner)
    (saved,) = await methods(till, owner)
    invoice = await till.invoice(customer=other)
    answer = await till.charge(invoice, method=saved["id"], expect=400)
    assert "No such payment method" in answer["details"]["reason"]


async def attempt(till: Till, invoice: dict[str, Any], expect: int = 200) -> Any:
    return await till.account.post(f"/invoices/{invoice['id']}/payment/attempt", None, expect)


async def test_an_attempt_charges_the_saved_method(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    await save(till, invoice["customer_id"])
    await till.pay(invoice, "25")
    assert await attempt(till, invoice) == {"message": "payment processed successfully"}
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await attempt(till, invoice, 400))["code"] == "invalid_operation"


async def test_an_attempt_that_is_declined_is_200_and_shows_on_the_invoice(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    await save(till, invoice["customer_id"], DECLINED)
    await attempt(till, invoice)
    assert await till.standing(invoice) == ("FAILED", "0", "100")
    await save(till, invoice["customer_id"], OK, set_default=True)
    await attempt(till, invoice)
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_an_attempt_with_nothing_to_charge_changes_nothing(till: Till) -> None:
    invoice = await till.invoice()
    await attempt(till, invoice)
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    assert (await till.account.get("/payments"))["items"] == []


async def test_attempts_at_once_charge_once(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    await save(till, invoice["customer_id"])
    path = f"/invoices/{invoice['id']}/payment/attempt"
    answers = await asyncio.gather(*(till.account.http.post(path) for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_only_a_finalized_invoice_is_collected(till: Till) -> None:
    draft = await till.invoice(invoice_status="DRAFT")
    assert (await attempt(till, draft, 400))["code"] == "invalid_operation"
    await till.account.post(f"/invoices/{draft['id']}/void", {}, 200)
    await attempt(till, draft, 400)
    await till.account.post("/invoices/inv_nowhere/payment/attempt", None, 404)


async def test_a_provider_that_gets_every_invoice_collects_by_itself(till: Till) -> None:
    await till.connect(sync_config={"invoice": {"outbound": True}})
    invoice = await till.invoice()
    await save(till, invoice["customer_id"])
    await attempt(till, invoice)
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_the_published_client_attempts_and_lists(till: Till, account: Account) -> None:
    await till.connect()
    invoice = await till.invoice()
    await save(till, invoice["customer_id"])
    async with account.sdk() as client:
        listed = await client.customers.list_customer_payment_methods_async(id=invoice["customer_id"])
        assert listed.providers
        assert listed.providers[0].items
        assert listed.providers[0].items[0].can_auto_charge
        answer = await client.invoices.attempt_invoice_payment_async(id=invoice["id"])
        assert answer.message == "payment processed successfully"
        paid = await client.payments.list_payments_async(destination_id=invoice["id"])
        assert paid.items
        assert paid.items[0].payment_status == "SUCCEEDED"
