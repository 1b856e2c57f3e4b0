"""What a checkout may be asked for, and what is refused while one is open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checkout.turnstile import CHARGED, KINDS, Body, Turnstile
from tests.subscriptions.shop import fixed


def asked(**more: Any) -> Body:
    params = {"plan_id": "plan_x", "currency": "usd", "billing_period": "MONTHLY"}
    return {
        "customer_external_id": "acme",
        "action": "create_subscription",
        "payment_provider": "stripe",
        "configuration": {"create_subscription_params": params},
        **more,
    }


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        pytest.param(asked(action="wallet_topup"), 400, "action", id="credits begin at their wallet"),
        pytest.param(asked(action="add_addon"), 400, "action", id="addons begin at their subscription"),
        pytest.param(asked(action="modify_subscription"), 400, "action", id="changes begin at their subscription"),
        pytest.param(asked(action="give_away"), 400, "action", id="an unknown action"),
        pytest.param(asked(payment_provider="cash"), 400, "payment_provider", id="an unknown provider"),
        pytest.param(asked(configuration={}), 400, "configuration.create_subscription_params", id="no parameters"),
        pytest.param(
            asked(action="pay_invoice"), 400, "configuration.create_subscription_params", id="those of another action"
        ),
        pytest.param(asked(success_url="javascript:alert(1)"), 400, "success_url", id="a script for an address"),
        pytest.param(asked(failure_url="ftp://example.com"), 400, "failure_url", id="an address of another kind"),
        pytest.param(asked(cancel_url="https://user:pass@example.com"), 400, "cancel_url", id="a password in it"),
        pytest.param(asked(success_url="https://exa mple.com"), 400, "success_url", id="a space in it"),
        pytest.param(asked(success_url="/thanks"), 400, "success_url", id="a path alone"),
        pytest.param(
            asked(payment_provider_config={"max_mandate_limit": "0"}),
            400,
            "payment_provider_config.max_mandate_limit",
            id="a mandate for nothing",
        ),
        pytest.param(
            asked(payment_provider_config={"payment_method": "CREDITS"}),
            400,
            "payment_provider_config.payment_method",
            id="credits at a provider",
        ),
        pytest.param(asked(customer_external_id="nobody"), 404, "external_customer_id", id="nobody's checkout"),
        pytest.param(asked(customer_external_id="gone"), 400, "customer_external_id", id="a deleted customer"),
        pytest.param(asked(), 404, "plan_id", id="no such plan"),
        pytest.param(asked(payment_provider="chargebee"), 400, "payment_provider", id="not connected"),
    ],
)
async def test_what_is_refused(turnstile: Turnstile, body: Body, status: int, field: str) -> None:
    await turnstile.office.customer("acme")
    gone = await turnstile.office.customer("gone")
    assert (await turnstile.account.http.delete(f"/customers/{gone['id']}")).status_code < 300
    answer = await turnstile.account.post("/checkout/sessions", body, status)
    assert field in answer["details"], answer


async def test_a_subscription_that_costs_nothing_now_needs_no_checkout(turnstile: Turnstile) -> None:
    customer = await turnstile.office.customer("acme")
    plan = await turnstile.office.plan(fixed("30", invoice_cadence="ARREAR"))
    params = {"plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    wanted = asked(configuration={"create_subscription_params": params})
    answer = await turnstile.account.post("/checkout/sessions", wanted, 400)
    assert "configuration" in answer["details"]
    body = {"customer_id": customer["id"], **params, "checkout": {"payment_provider": "stripe"}}
    made = await turnstile.account.post("/subscriptions", body, 201)
    assert (made["subscription_status"], made.get("checkout_session")) == ("active", None)
    assert len((await turnstile.account.get("/subscriptions"))["items"]) == 1
    await turnstile.require_sound()


async def test_a_subscription_by_its_own_endpoint(turnstile: Turnstile) -> None:
    await turnstile.office.customer("acme")
    plan = await turnstile.office.plan(fixed("30"))
    params = {"plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY", "lookup_key": "pro"}
    config = {"collection_method": "charge_automatically", "max_mandate_limit": "500"}
    wanted = asked(configuration={"create_subscription_params": params}, payment_provider_config=config)
    session = await turnstile.account.post("/checkout/sessions", wanted, 201)
    assert session["configuration"]["create_subscription_params"]["lookup_key"] == "pro"
    assert session["payment_provider_config"] == config
    await turnstile.till.act(session["provider_result"]["provider_session_id"], "succeed")
    session = await turnstile.account.get(f"/checkout/sessions/{session['id']}")
    made = session["result"]["create_subscription_result"]
    subscription = await turnstile.account.get(f"/subscriptions/{made['subscription_id']}")
    assert subscription["subscription_status"] == "active"
    assert subscription["collection_method"] == "charge_automatically"
    methods = await turnstile.account.get(f"/customers/{subscription['customer_id']}/payment-methods")
    assert len(methods["providers"][0]["items"]) == 1  # saved for the next periods
    await turnstile.require_sound()


async def test_a_start_that_lies_ahead_is_paid_now(turnstile: Turnstile) -> None:
    """Rule: docs/rules/subscriptions.md#starts-in-the-future"""
    customer = await turnstile.office.customer()
    plan = await turnstile.office.plan(fixed("30"))
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    body |= {"start_date": "2026-02-01T00:00:00Z", "checkout": {"payment_provider": "stripe"}}
    made = await turnstile.account.post("/subscriptions", body, 201)
    await turnstile.till.act(made["checkout_session"]["provider_result"]["provider_session_id"], "succeed")
    invoice = await turnstile.account.get(f"/invoices/{made['checkout_session']['checkout_invoice_id']}")
    assert (invoice["invoice_status"], invoice["payment_status"], invoice["total"]) == ("FINALIZED", "SUCCEEDED", "30")
    assert (invoice["period_start"], invoice["period_end"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    found = await turnstile.account.get(f"/subscriptions/{made['id']}")
    assert (found["subscription_status"], found["start_date"]) == ("active", "2026-02-01T00:00:00Z")
    await turnstile.office.run("2026-03-01")
    billed = await turnstile.account.get("/invoices", subscription_id=made["id"])
    reasons = {row["billing_reason"]: row["total"] for row in billed["items"]}
    assert reasons == {"SUBSCRIPTION_CREATE": "30", "SUBSCRIPTION_CYCLE": "30"}
    await turnstile.require_sound()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_free_again_once_its_checkout_has_ended(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind, idempotency_key="order-7")
    taken = await turnstile.open("subscription", 409, idempotency_key="order-7")
    assert taken.session["code"] == "already_exists"
    await turnstile.cancel(opened)
    again = await turnstile.open("subscription", idempotency_key="order-7")
    assert again.session["checkout_status"] == "pending"
    await turnstile.act(opened, "succeed", 400)


async def test_a_repeated_request_is_the_same_checkout(turnstile: Turnstile) -> None:
    invoice = await turnstile.till.invoice()
    turnstile.account.http.headers["Idempotency-Key"] = "again-and-again"
    first = await turnstile.account.http.post("/payments", json={})
    assert first.status_code == 400  # a key of another request
    turnstile.account.http.headers["Idempotency-Key"] = "pay-once"
    customer = (await turnstile.account.http.get(f"/customers/{invoice['customer_id']}")).json()
    body = asked(
        customer_external_id=customer["external_id"],
        action="pay_invoice",
        configuration={"pay_invoice_params": {"invoice_id": invoice["id"]}},
    )
    answers = [await turnstile.account.http.post("/checkout/sessions", json=body) for _ in range(2)]
    del turnstile.account.http.headers["Idempotency-Key"]
    assert answers[0].status_code == answers[1].status_code == 201
    assert answers[0].json()["id"] == answers[1].json()["id"]


@pytest.mark.parametrize("kind", ["seats", "addon", "plan", "credits", "invoice"])
async def test_one_checkout_at_a_time_is_about_a_thing(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    checkout = {"payment_provider": "stripe"}
    if kind == "credits":
        body = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "5", "checkout": checkout}
        await turnstile.account.post(f"/wallets/{opened.subject}/top-up", body, 409)
    elif kind == "invoice":
        await turnstile.pay_invoice(await turnstile.invoice(opened), 409)
    else:
        found = await turnstile.account.get(f"/subscriptions/{opened.subject}")
        item = next(item for item in found["line_items"] if item["end_date"] is None)
        params = {"line_items": [{"id": item["id"], "quantity": "9"}]}
        body = {"type": "quantity_change", "quantity_change_params": params, "checkout": checkout}
        await turnstile.account.post(f"/subscriptions/{opened.subject}/modify/execute", body, 409)
    await turnstile.require_sound()


async def test_nobody_else_touches_a_draft_that_waits(turnstile: Turnstile) -> None:
    opened = await turnstile.open("one-off")
    account, invoice = turnstile.account, opened.session["checkout_invoice_id"]
    assert (await turnstile.invoice(opened))["source_type"] == "checkout"
    line = {
        "type": "line_item",
        "line_item_params": {"action": "add", "items": [{"display_name": "More", "amount": "1", "quantity": "1"}]},
    }
    tries: list[tuple[str, str, Body | None]] = [
        ("POST", f"/invoices/{invoice}/finalize", None),
        ("POST", f"/invoices/{invoice}/compute", {"subtotal": "1"}),
        ("POST", f"/invoices/{invoice}/modify/execute", line),
        ("PUT", f"/invoices/{invoice}/payment", {"payment_status": "SUCCEEDED"}),
        ("POST", "/payments", turnstile.till.order({"id": invoice, "currency": "usd"})),
        ("PUT", f"/payments/{opened.session['checkout_payment_id']}", {"payment_status": "SUCCEEDED"}),
        ("PUT", f"/payments/{opened.session['checkout_payment_id']}", {"payment_status": "FAILED"}),
        ("POST", f"/invoices/{invoice}/payment/attempt", None),
    ]
    for method, path, body in tries:
        answer = await account.http.request(method, path, json=body)
        assert answer.status_code == 400, (method, path, answer.text)
    await turnstile.act(opened)
    assert await turnstile.had(opened) == "SUCCEEDED"


async def test_a_draft_subscription_that_waits_is_begun_by_its_checkout_alone(turnstile: Turnstile) -> None:
    opened = await turnstile.open("subscription")
    body = {"start_date": "2026-01-16T00:00:00Z"}
    answer = await turnstile.account.post(f"/subscriptions/{opened.subject}/activate", body, 400)
    assert answer["details"]["checkout_session_id"] == opened.session["id"]
    await turnstile.act(opened)
    assert await turnstile.had(opened) == "active"


@pytest.mark.parametrize("kind", ["subscription", "credits", "one-off", "invoice"])
async def test_voiding_its_invoice_cancels_a_checkout(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    await turnstile.account.post(f"/invoices/{opened.session['checkout_invoice_id']}/void", {}, 200)
    session = await turnstile.read(opened)
    assert (session["checkout_status"], session["payment"]["status"]) == ("failed", "VOIDED")
    assert session["cancelled_at"] is not None
    assert (await turnstile.invoice(opened))["invoice_status"] == "VOIDED"
    await turnstile.require_sound()


async def test_an_invoice_that_was_paid_elsewhere_meanwhile_gives_the_money_back(turnstile: Turnstile) -> None:
    opened = await turnstile.open("invoice")
    await turnstile.till.pay(await turnstile.invoice(opened))
    await turnstile.act(opened)
    session = await turnstile.read(opened)
    assert session["entity_creation_result"]["status"] == "failed_already_exists"
    assert (await turnstile.payment(opened))["payment_status"] == "REFUNDED"
    assert await turnstile.captured(opened) == ("100", "100")
    assert (await turnstile.invoice(opened))["amount_paid"] == "100"
    await turnstile.require_sound()


async def test_a_change_that_costs_another_amount_by_now_is_not_made(turnstile: Turnstile) -> None:
    opened = await turnstile.open("seats")
    found = await turnstile.account.get(f"/subscriptions/{opened.subject}")
    params = {"line_items": [{"id": found["line_items"][0]["id"], "quantity": "2"}]}
    body = {"type": "quantity_change", "quantity_change_params": params}
    await turnstile.account.post(f"/subscriptions/{opened.subject}/modify/execute", body, 200)
    await turnstile.act(opened)
    session = await turnstile.read(opened)
    assert session["checkout_status"] == "failed"
    assert session["entity_creation_result"]["status"] == "failed_already_exists"
    assert await turnstile.had(opened) == "2"
    assert await turnstile.captured(opened) == ("64", "64")
    await turnstile.require_sound()


async def test_what_was_paid_before_a_checkout_is_cancelled_counts_although_nobody_has_told(
    turnstile: Turnstile,
) -> None:
    invoice = await turnstile.till.invoice()
    first = await turnstile.pay_invoice(invoice)
    await turnstile.till.act(first["provider_result"]["provider_session_id"], "succeed", delivery="late")
    await turnstile.account.post(f"/checkout/sessions/{first['id']}/cancel", None, 200)
    assert await turnstile.till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await turnstile.pay_invoice(invoice, 400)
    await turnstile.till.act(first["provider_result"]["provider_session_id"], "deliver")
    payment = await turnstile.account.get(f"/payments/{first['checkout_payment_id']}")
    assert payment["payment_status"] == "SUCCEEDED"
    assert await turnstile.till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await turnstile.require_sound()


async def test_a_newer_checkout_supersedes_one_whose_money_comes_late(turnstile: Turnstile) -> None:
    invoice = await turnstile.till.invoice()
    first = await turnstile.pay_invoice(invoice)
    await turnstile.till.act(first["provider_result"]["provider_session_id"], "succeed", delivery="late")
    await turnstile.expire()  # without asking the provider, whose report is still on its way
    second = await turnstile.pay_invoice(invoice)
    await turnstile.till.act(second["provider_result"]["provider_session_id"], "succeed")
    await turnstile.till.act(first["provider_result"]["provider_session_id"], "deliver")
    late = await turnstile.read(first)
    assert (late["checkout_status"], late["entity_creation_result"]["status"]) == ("expired", "superseded")
    payment = await turnstile.account.get(f"/payments/{first['checkout_payment_id']}")
    assert payment["payment_status"] == "REFUNDED"
    assert await turnstile.till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await turnstile.require_sound()


async def test_a_session_that_has_ended_cannot_be_cancelled(turnstile: Turnstile) -> None:
    opened = await turnstile.open("invoice")
    await turnstile.act(opened)
    answer = await turnstile.cancel(opened, 400)
    assert answer["details"]["current_status"] == "completed"
    assert (await turnstile.account.http.delete(f"/checkout/sessions/{opened.session['id']}")).status_code == 400


async def test_what_is_listed_and_when_to_look_again(turnstile: Turnstile) -> None:
    opened = await turnstile.open("invoice")
    session = await turnstile.read(opened)
    assert (session["next_poll_after_ms"], opened.session["next_poll_after_ms"], session["stale"]) == (2000, 0, False)
    await turnstile.office.on("2026-01-16T00:01:01")
    assert (await turnstile.read(opened))["stale"] is True
    await turnstile.act(opened, "fail")  # a word of the provider
    assert (await turnstile.read(opened))["stale"] is False
    await turnstile.cancel(opened)
    session = await turnstile.read(opened)
    assert (session["next_poll_after_ms"], session["stale"]) == (0, False)
    other = await turnstile.open("credits")
    listed = await turnstile.account.get("/checkout/sessions", checkout_status="pending")
    assert [row["id"] for row in listed["items"]] == [other.session["id"]]


@pytest.mark.parametrize("kind", ["addon", "seats", "plan"])
async def test_a_subscription_that_was_cancelled_meanwhile_gives_the_money_back(
    turnstile: Turnstile, kind: str
) -> None:
    opened = await turnstile.open(kind)
    body = {"cancellation_type": "immediate", "proration_behavior": "none"}
    await turnstile.account.post(f"/subscriptions/{opened.subject}/cancel", body, 200)
    await turnstile.act(opened)
    session = await turnstile.read(opened)
    assert (session["checkout_status"], session["failure_reason"] != "") == ("failed", True)
    assert await turnstile.captured(opened) == (CHARGED[kind], CHARGED[kind])
    await turnstile.require_sound()


@pytest.mark.parametrize("kind", ["credits", "one-off", "invoice"])
async def test_a_customer_that_was_deleted_meanwhile_gets_nothing(turnstile: Turnstile, kind: str) -> None:
    opened = await turnstile.open(kind)
    answer = await turnstile.account.http.delete(f"/customers/{opened.session['customer_id']}")
    await turnstile.act(opened)
    session = await turnstile.read(opened)
    if answer.is_success and kind != "invoice":  # what is owed may be paid all the same
        assert session["checkout_status"] == "failed"
        assert await turnstile.captured(opened) == (CHARGED[kind], CHARGED[kind])
    else:  # it has an open wallet or owes money
        assert session["checkout_status"] == "completed"
    await turnstile.require_sound()
