"""Hosted pages and the webhooks that tell of them: twice, out of order, late, forged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from farthing.core.clock import SystemClock
from farthing.payments.integrations.gateways import sealed_for
from farthing.payments.tables import Connection, ProviderEvent
from farthing.payments.testing_provider import signing
from tests.payments.till import Till


async def test_a_link_is_opened_once_and_paid_on_its_page(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice, success_url="https://example.com/thanks")
    assert payment["payment_status"] == "PENDING"
    page_id = payment["gateway_tracking_id"]
    assert payment["payment_url"].endswith(f"/v1/test/gateway/sessions/{page_id}")
    again = await till.account.post(f"/payments/{payment['id']}/process", None, 200)
    assert again["payment_url"] == payment["payment_url"]
    async with httpx.AsyncClient() as visitor:
        page = (await visitor.get(payment["payment_url"])).json()
    assert (page["state"], page["amount"], page["currency"]) == ("open", "100", "usd")
    done = await till.act(payment, "succeed")
    assert done["state"] == "complete"
    payment = await till.read(payment)
    assert payment["payment_status"] == "SUCCEEDED"
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.act(payment, "succeed", 400))["code"] == "invalid_operation"
    assert await till.events(payment["id"]) == ["payment.created", "payment.pending", "payment.success"]


async def test_a_decline_on_a_page_is_an_attempt_and_the_page_stays_open(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "fail")
    await till.act(payment, "fail")
    shown = await till.read(payment)
    assert shown["payment_status"] == "PENDING"
    assert [a["attempt_number"] for a in shown["attempts"]] == [1, 2]
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    await till.act(payment, "succeed")
    assert [a["payment_status"] for a in (await till.read(payment))["attempts"]] == ["FAILED", "FAILED", "SUCCEEDED"]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_an_expired_link_fails_without_blaming_the_invoice(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "expire")
    payment = await till.read(payment)
    assert (payment["payment_status"], payment["error_message"]) == ("FAILED", "The payment link expired")
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_webhooks_twice_take_effect_once(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    done = await till.act(payment, "succeed", delivery="twice")
    assert [sent["status_code"] for sent in done["webhooks"]] == [200, 200]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.events(payment["id"])).count("payment.success") == 1
    assert await stored(till) == 1


async def test_a_refund_heard_of_before_its_payment_brings_both(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    assert (await till.read(payment))["payment_status"] == "PENDING"
    done = await till.act(payment, "refund", amount="30", delivery="reversed")
    assert [sent["type"] for sent in done["webhooks"]] == ["refund.updated", "payment.succeeded"]
    assert [sent["status_code"] for sent in done["webhooks"]] == [200, 200]
    assert (await till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    status, paid, remaining = await till.standing(invoice)
    assert (status, paid, remaining) == ("SUCCEEDED", "100", "0")


async def test_refunds_change_the_payment_and_never_the_invoice(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed")
    await till.act(payment, "refund", amount="40")
    assert (await till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    await till.act(payment, "refund", 400, amount="60.01")
    await till.act(payment, "refund")
    payment = await till.read(payment)
    assert payment["payment_status"] == "REFUNDED"
    assert payment["refunded_at"]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_late_webhook_is_as_good_as_a_prompt_one(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    await till.act(payment, "deliver")
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_voiding_an_invoice_withdraws_its_link(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    voided = await till.read(payment)
    assert voided["payment_status"] == "VOIDED"
    assert voided["voided_at"]
    await till.reconcile()
    assert (await till.act(payment, "succeed", 400))["details"]["state"] == "cancelled"


async def test_money_for_a_voided_invoice_is_recorded_and_sent_back(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed", delivery="late")
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await till.act(payment, "deliver")
    payment = await till.read(payment)
    assert payment["payment_status"] == "REFUNDED"
    assert payment["succeeded_at"]
    assert payment["refunded_at"]
    assert await till.events(payment["id"]) == [
        "payment.created",
        "payment.pending",
        "payment.updated",
        "payment.success",
        "payment.updated",
    ]
    after = await till.desk.get(invoice)
    assert (after["amount_paid"], after["refunded_amount"], after["payment_status"]) == ("100", "100", "REFUNDED")


async def test_two_links_paid_are_an_overpayment_not_a_loss(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    one, two = await till.link(invoice, "100"), await till.link(invoice, "99")
    await till.act(one, "succeed")
    await till.act(two, "succeed")
    assert await till.standing(invoice) == ("OVERPAID", "199", "0")


async def test_a_link_that_saves_the_card_makes_it_the_default(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    await till.act(await till.link(invoice, save_card_and_make_default=True), "succeed")
    methods = await till.account.get(f"/customers/{invoice['customer_id']}/payment-methods")
    (saved,) = methods["providers"][0]["items"]
    assert (saved["type"], saved["is_default"], saved["card"]["last4"]) == ("CARD", True, "4242")


async def test_a_page_nobody_made_or_whose_connection_is_gone_is_not_found(till: Till) -> None:
    connection = await till.connect()
    payment = await till.link(await till.invoice())
    await till.act("tgs_01AAAAAAAAAAAAAAAAAAAAAAAA", "succeed", 404)
    await till.act(payment, "explode", 400)
    await till.account.delete(f"/connections/{connection['id']}")
    await till.act(payment, "succeed", 404)


async def stored(till: Till) -> int:
    async with till.account.transaction(read_only=True) as session:
        return int(await session.scalar(select(func.count()).select_from(ProviderEvent)) or 0)


async def secret_of(till: Till, connection: dict[str, Any]) -> str:
    async with till.account.transaction(read_only=True) as session:
        row = await session.get_one(Connection, connection["id"])
    owner = sealed_for(row.environment_id, row.id)
    opened = till.gateways().safe.open(row.credentials, row.credentials_key_id, owner)
    return str(opened["webhook_secret"])


async def report(till: Till, body: bytes, signature: str | None, provider: str = "stripe", expect: int = 200) -> Any:
    account = till.account
    path = f"/v1/webhooks/{provider}/{account.tenant_id}/{account.environment_id}"
    headers: dict[str, Any] = {signing.HEADER: signature.encode("latin-1")} if signature is not None else {}
    async with httpx.AsyncClient(base_url=account.base_url) as gateway:
        answer = await gateway.post(path, content=body, headers=headers)
    assert answer.status_code == expect, answer.text
    return answer.json()


def event(payment: dict[str, Any], **more: Any) -> bytes:
    charge = {"id": "ch_x", "state": "succeeded", "amount": "100", "currency": "usd", "refunded": "0"}
    body = {"id": "evt_1", "type": "payment.succeeded", "payment_id": payment["id"], "charge": charge, **more}
    return json.dumps(body).encode()


async def test_a_signed_report_over_http_is_taken_and_a_duplicate_is_answered_the_same(till: Till) -> None:
    connection = await till.connect()
    secret = await secret_of(till, connection)
    invoice = await till.invoice()
    payment = await till.link(invoice)
    body, now = event(payment), SystemClock().now()
    assert await report(till, body, signing.sign(secret, body, now)) == {"received": True, "duplicate": False}
    assert await report(till, body, signing.sign(secret, body, now)) == {"received": True, "duplicate": True}
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_what_is_not_signed_right_is_refused_and_changes_nothing(till: Till) -> None:
    connection = await till.connect()
    secret = await secret_of(till, connection)
    invoice = await till.invoice()
    payment = await till.link(invoice)
    body, now = event(payment), SystemClock().now()
    good = signing.sign(secret, body, now)
    old = signing.sign(secret, body, now - timedelta(minutes=6))
    future = signing.sign(secret, body, now + timedelta(minutes=6))
    forged = signing.sign("another secret", body, now)
    for bad in (None, "", "t=1", "v1=x", f"t=²,{good.split(',')[1]}", good[:-1], old, future, forged):
        answer = await report(till, body, bad, expect=400)
        assert "signature" in answer["details"], bad
    assert (await report(till, body + b" ", good, expect=400))["details"]["signature"]
    assert await stored(till) == 0
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_signature_of_the_last_five_minutes_is_taken(till: Till) -> None:
    secret = await secret_of(till, await till.connect())
    body = event(await till.link(await till.invoice()))
    await report(till, body, signing.sign(secret, body, SystemClock().now() - timedelta(minutes=4, seconds=50)))


async def test_reports_about_nothing_we_know_are_taken_and_forgotten(till: Till) -> None:
    secret = await secret_of(till, await till.connect())
    for body in (event({"id": "pay_nobody"}), event({"id": "pay_nobody"}, id="evt_2", type="disk.full")):
        answer = await report(till, body, signing.sign(secret, body, SystemClock().now()))
        assert answer == {"received": True, "duplicate": False}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"id": 1}', b"\xff\xfe", b'{"id":"e","type":"t","charge":{}}'])
async def test_a_signed_body_that_cannot_be_read_is_refused(till: Till, body: bytes) -> None:
    secret = await secret_of(till, await till.connect())
    answer = await report(till, body, signing.sign(secret, body, SystemClock().now()), expect=400)
    assert answer["code"] == "validation_error"


async def test_a_capture_in_another_currency_settles_nothing(till: Till) -> None:
    secret = await secret_of(till, await till.connect())
    invoice = await till.invoice()
    payment = await till.link(invoice)
    charge = {"id": "ch_y", "state": "succeeded", "amount": "100", "currency": "jpy", "refunded": "0"}
    body = event(payment, charge=charge)
    await report(till, body, signing.sign(secret, body, SystemClock().now()))
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    assert "jpy" in (await till.read(payment))["error_message"]


async def test_what_was_captured_counts_not_what_was_asked(till: Till) -> None:
    secret = await secret_of(till, await till.connect())
    invoice = await till.invoice()
    payment = await till.link(invoice)
    charge = {"id": "ch_z", "state": "succeeded", "amount": "90.5", "currency": "usd", "refunded": "0"}
    body = event(payment, charge=charge)
    await report(till, body, signing.sign(secret, body, SystemClock().now()))
    payment = await till.read(payment)
    assert (payment["amount"], payment["gateway_metadata"]["requested_amount"]) == ("90.5", "100")
    assert await till.standing(invoice) == ("PENDING", "90.5", "9.5")


async def test_one_provider_cannot_speak_of_another_s_payments(till: Till) -> None:
    await till.connect()
    secret = await secret_of(till, await till.connect("razorpay"))
    invoice = await till.invoice()
    body = event(await till.link(invoice))
    await report(till, body, signing.sign(secret, body, SystemClock().now()), provider="razorpay")
    assert await till.standing(invoice) == ("PENDING", "0", "100")


async def test_webhooks_without_a_connection_or_of_an_unknown_provider_are_refused(till: Till, stranger: Any) -> None:
    await report(till, b"{}", "t=1,v1=x", expect=404)
    await report(till, b"{}", "t=1,v1=x", provider="paypal", expect=400)
    await till.connect()
    async with httpx.AsyncClient(base_url=till.account.base_url) as gateway:
        mixed = f"/v1/webhooks/stripe/{stranger.tenant_id}/{till.account.environment_id}"
        answer = await gateway.post(mixed, content=b"{}", headers={signing.HEADER: "t=1,v1=x"})
    assert answer.status_code == 404


async def test_what_a_provider_reports_is_recorded_as_its_doing(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.link(invoice)
    await till.act(payment, "succeed")
    for entity_id, action in ((payment["id"], "payment.success"), (invoice["id"], "invoice.update.payment")):
        activity = (await till.account.post("/activity", {"entity_id": entity_id}, 200))["items"][0]
        assert (activity["action"], activity["source"]) == (action, "webhook")
        assert activity["actor"] == {"id": "stripe", "label": "stripe", "type": "provider"}
        assert activity["customer_id"] == invoice["customer_id"]
