"""What Stripe reports: whose it is, once, in any order; refunds and disputes."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from farthing.payments.refunds.tables import RefundRecord
from farthing.payments.tables import Payment
from tests.account import Account
from tests.payments.stripe.documented_stripe import event_of, signature_of
from tests.payments.stripe.stripe_till import WEBHOOK_SECRET, StripeTill
from tests.payments.till import Till


async def _charged(till: StripeTill) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """An invoice of 100 that was charged: with its payment and the intent."""
    invoice, card = await till.card()
    payment = await till.charge(invoice, method=card)
    return invoice, payment, till.books.rows[payment["gateway_payment_id"]]


async def _waiting(till: StripeTill) -> tuple[dict[str, Any], dict[str, Any]]:
    """An invoice of 100 whose charge waits at the bank, and the intent that succeeded meanwhile."""
    invoice, card = await till.card("slow")
    payment = await till.charge(invoice, method=card)
    return invoice, till.books.confirm(payment["gateway_payment_id"])


def _off(seconds: int) -> float:
    return time.time() + seconds


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda body: signature_of(body, "whsec_of_somebody_else"), id="another secret"),
        pytest.param(lambda body: signature_of(body + b" ", WEBHOOK_SECRET), id="another body"),
        pytest.param(lambda body: signature_of(body, WEBHOOK_SECRET, _off(-400)), id="too old"),
        pytest.param(lambda body: signature_of(body, WEBHOOK_SECRET, _off(400)), id="from the future"),
        pytest.param(lambda body: "t=1", id="no signature"),
        pytest.param(lambda body: "v1=00", id="no time"),
        pytest.param(lambda body: "t=x,v1=00", id="no number"),
        pytest.param(lambda body: f"t={'9' * 400},v1=00", id="an endless number"),
        pytest.param(lambda body: "t=1,v1=\xe9", id="not ASCII"),
        pytest.param(lambda body: signature_of(body, WEBHOOK_SECRET).replace("v1", "v0"), id="an older scheme"),
    ],
)
async def test_what_stripe_did_not_sign_is_refused(stripe_till: StripeTill, header: Any) -> None:
    invoice, intent = await _waiting(stripe_till)
    body = event_of("payment_intent.succeeded", intent)
    answer = await stripe_till.receive(body, 400, header(body))
    assert answer["code"] == "validation_error"
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="no object"),
        pytest.param(b'{"a":' * 3_000, id="endlessly deep"),
        pytest.param(b'{"id": 1, "type": "x", "data": {"object": {}}}', id="a number as an id"),
        pytest.param(b'{"id": "e", "type": ["x"], "data": {"object": {}}}', id="a list as a type"),
        pytest.param(b'{"id": "e", "type": "payment_intent.succeeded", "data": {"object": 5}}', id="no subject"),
    ],
)
async def test_what_stripe_signed_and_cannot_be_read_is_refused(stripe_till: StripeTill, body: bytes) -> None:
    answer = await stripe_till.receive(body, 400, signature_of(body, WEBHOOK_SECRET))
    assert answer["details"] == {"body": "cannot be read"}


MISSHAPEN: tuple[tuple[str, Any], ...] = (
    ("amount_received", "10000"),
    ("amount_received", -10000),
    ("amount_received", 10**40),
    ("amount_received", 1.5),
    ("currency", "us\r\n"),
    ("metadata", []),
    ("id", None),
)


async def test_an_event_of_another_shape_moves_nothing_and_breaks_nothing(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    path = f"/webhooks/stripe/{stripe_till.account.tenant_id}/{stripe_till.account.environment_id}"
    for field, value in MISSHAPEN:
        body = event_of("payment_intent.succeeded", {**intent, field: value})
        headers = {"stripe-signature": signature_of(body, WEBHOOK_SECRET)}
        answer = await stripe_till.account.http.post(path, content=body, headers=headers)
        assert answer.status_code in {200, 400}, (field, value, answer.text)
        assert await stripe_till.standing(invoice) == ("PENDING", "0", "100"), (field, value)


async def test_any_of_several_signatures_counts_while_a_secret_is_rolled(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    body = event_of("payment_intent.succeeded", intent)
    header = signature_of(body, WEBHOOK_SECRET)
    await stripe_till.receive(body, 200, f"{header},v1={'0' * 64}")
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_an_event_counts_once_however_often_it_comes(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    body = event_of("payment_intent.succeeded", intent)
    answers = [await stripe_till.receive(body) for _ in range(3)]
    assert [answer["duplicate"] for answer in answers] == [False, True, True]
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_failure_that_is_heard_of_after_the_success_changes_nothing(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    await stripe_till.hear("payment_intent.succeeded", intent)
    error = {"code": "card_declined", "message": "No."}
    failed = {**intent, "status": "requires_payment_method", "last_payment_error": error}
    await stripe_till.hear("payment_intent.payment_failed", failed)
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"account": "acct_somebody_else"}, id="a connected account"),
        pytest.param({"livemode": True}, id="the other mode"),
    ],
)
async def test_an_event_of_another_account_or_mode_is_only_remembered(stripe_till: StripeTill, more: Any) -> None:
    invoice, intent = await _waiting(stripe_till)
    await stripe_till.hear("payment_intent.succeeded", intent, **more)
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


async def test_an_event_of_another_environment_of_the_same_account_is_only_remembered(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    metadata = {**intent["metadata"], "farthing_environment_id": "env_other"}
    await stripe_till.hear("payment_intent.succeeded", {**intent, "metadata": metadata})
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


async def test_payments_that_are_none_of_ours_are_only_remembered(stripe_till: StripeTill) -> None:
    foreign = {"id": "pi_foreign", "status": "succeeded", "amount": 5, "currency": "usd", "metadata": {}}
    assert (await stripe_till.hear("payment_intent.succeeded", foreign))["received"]
    assert (await stripe_till.hear("customer.created", {"id": "cus_1"}))["received"]
    await stripe_till.receive(b"[]", 400, signature_of(b"[]", WEBHOOK_SECRET))
    await stripe_till.receive(b"\xff", 400, f"t={int(time.time())},v1=00")


async def test_a_report_in_another_currency_moves_nothing(stripe_till: StripeTill) -> None:
    invoice, intent = await _waiting(stripe_till)
    await stripe_till.hear("payment_intent.succeeded", {**intent, "currency": "eur"})
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")


async def test_a_refund_made_at_stripe_is_heard_of(stripe_till: StripeTill) -> None:
    invoice, payment, intent = await _charged(stripe_till)
    refund = {"payment_intent": intent["id"], "amount": "3000"}
    stripe_till.books.add("refund", "re", **{**refund, "amount": 3000}, currency="usd", status="succeeded", metadata={})
    charge = {"id": "ch_1", "payment_intent": intent["id"], "amount_refunded": 3000}
    for _ in range(2):
        await stripe_till.hear("charge.refunded", charge)
    assert (await stripe_till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def _note(till: StripeTill, invoice: dict[str, Any], amount: str = "40") -> dict[str, Any]:
    """A credit note that sends money back the way it came; its refund."""
    line = (await till.desk.get(invoice))["line_items"][0]["id"]
    body = {
        "invoice_id": invoice["id"],
        "reason": "SERVICE_ISSUE",
        "line_items": [{"invoice_line_item_id": line, "amount": amount}],
        "process_credit_note": True,
        "refund_target": "BACK_TO_SOURCE",
    }
    await till.account.post("/creditnotes", body)
    return await _refund_of(till, invoice)


async def _refund_of(till: StripeTill, invoice: dict[str, Any]) -> dict[str, Any]:
    answer = await till.account.get("/refunds", invoice_ids=invoice["id"])
    refund: dict[str, Any] = answer["items"][0]
    return refund


async def test_a_credit_note_sends_the_money_back_through_stripe(stripe_till: StripeTill) -> None:
    invoice, payment, intent = await _charged(stripe_till)
    refund = await _note(stripe_till, invoice)
    sent = stripe_till.books.of("refund")
    assert [(row["payment_intent"], row["amount"]) for row in sent] == [(intent["id"], 4000)]
    assert (refund["refund_status"], refund["gateway_refund_id"]) == ("SUCCEEDED", sent[0]["id"])
    await stripe_till.hear("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})
    assert (await stripe_till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"


@pytest.mark.parametrize("keys_forgotten", [False, True], ids=["key still known", "key long forgotten"])
async def test_a_refund_whose_answer_was_lost_is_sent_once(stripe_till: StripeTill, keys_forgotten: bool) -> None:
    invoice, _, _ = await _charged(stripe_till)
    stripe_till.books.faults += [("/refunds", "none"), ("/refunds", "unanswered")] + [("/refunds", "unanswered")] * 2
    refund = await _note(stripe_till, invoice)
    assert refund["refund_status"] == "PROCESSING"
    if keys_forgotten:
        stripe_till.books.answers.clear()
    await stripe_till.reconcile()
    assert (await _refund_of(stripe_till, invoice))["refund_status"] == "SUCCEEDED"
    assert len(stripe_till.books.of("refund")) == 1


async def test_while_the_key_is_refused_a_refund_that_was_sent_is_not_taken_for_failed(
    stripe_till: StripeTill,
) -> None:
    """Else it could be paid into a wallet as well."""
    invoice, _, _ = await _charged(stripe_till)
    stripe_till.books.faults += [("/refunds", "none")] + [("/refunds", "unanswered")] * 3
    await _note(stripe_till, invoice)
    for secret_key, status in (("sk_test_revoked_abcdefgh", "PROCESSING"), (stripe_till.secret_key, "SUCCEEDED")):
        await stripe_till.use_key(secret_key)
        await stripe_till.reconcile(minutes=16 if status == "PROCESSING" else 32)
        assert (await _refund_of(stripe_till, invoice))["refund_status"] == status
    assert len(stripe_till.books.of("refund")) == 1


@pytest.mark.parametrize("ending", ["succeeded", "failed"])
async def test_a_refund_that_takes_days_is_waited_for(stripe_till: StripeTill, ending: str) -> None:
    invoice, _, _ = await _charged(stripe_till)
    stripe_till.books.refund_status = "pending"
    await _note(stripe_till, invoice)
    row = stripe_till.books.of("refund")[0]
    await stripe_till.hear("refund.created", row)
    await stripe_till.reconcile()
    assert (await _refund_of(stripe_till, invoice))["refund_status"] == "PROCESSING"
    row["status"] = ending
    if ending == "failed":
        row["failure_reason"] = "lost_or_stolen_card"
    await stripe_till.hear("refund.updated" if ending == "succeeded" else "refund.failed", row)
    refund = await _refund_of(stripe_till, invoice)
    assert refund["refund_status"] == ending.upper()
    assert len(stripe_till.books.of("refund")) == 1


async def test_of_two_refunds_underway_the_one_that_arrived_is_settled(stripe_till: StripeTill) -> None:
    invoice, payment, _ = await _charged(stripe_till)
    stripe_till.books.refund_status = "pending"
    for amount in ("10", "20"):
        await _note(stripe_till, invoice, amount)
    row = next(row for row in stripe_till.books.of("refund") if row["amount"] == 2000)
    row["status"] = "succeeded"
    await stripe_till.hear("refund.updated", row)
    refunds = (await stripe_till.account.get("/refunds", invoice_ids=invoice["id"]))["items"]
    assert {(refund["amount"], refund["refund_status"]) for refund in refunds} == {
        ("10", "PROCESSING"),
        ("20", "SUCCEEDED"),
    }
    await stripe_till.reconcile()
    async with stripe_till.account.transaction(read_only=True) as session:
        assert (await session.get_one(Payment, payment["id"])).refunded_amount == 20


async def test_an_event_that_needs_an_answer_of_stripe_waits_for_it(stripe_till: StripeTill) -> None:
    _, payment, intent = await _charged(stripe_till)
    stripe_till.books.add(
        "refund", "re", payment_intent=intent["id"], amount=10000, currency="usd", status="succeeded", metadata={}
    )
    body = event_of("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})
    stripe_till.books.faults += [("/payment_intents", "broken")] * 3
    await stripe_till.receive(body, 503)
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"
    assert not (await stripe_till.receive(body))["duplicate"]
    assert (await stripe_till.read(payment))["payment_status"] == "REFUNDED"


def _dispute(intent: dict[str, Any], status: str, amount: int = 10000) -> dict[str, Any]:
    return {
        "id": "du_1",
        "object": "dispute",
        "amount": amount,
        "currency": "usd",
        "status": status,
        "reason": "fraudulent",
        "payment_intent": intent["id"],
        "metadata": {},
    }


async def test_a_dispute_shows_on_its_payment(stripe_till: StripeTill) -> None:
    invoice, payment, intent = await _charged(stripe_till)
    await stripe_till.hear("charge.dispute.created", _dispute(intent, "needs_response"))
    shown = await stripe_till.read(payment)
    assert shown["payment_status"] == "SUCCEEDED"
    assert shown["gateway_metadata"]["dispute_status"] == "needs_response"
    assert shown["gateway_metadata"]["dispute_amount"] == "100"
    await stripe_till.hear("charge.dispute.closed", _dispute(intent, "won"))
    assert (await stripe_till.read(payment))["gateway_metadata"]["dispute_state"] == "won"
    assert (await stripe_till.account.get("/refunds", invoice_ids=invoice["id"]))["items"] == []


@pytest.mark.parametrize("order", [["needs_response", "lost"], ["lost", "needs_response"]], ids=["in order", "late"])
@pytest.mark.parametrize(("amount", "status"), [(10000, "REFUNDED"), (2500, "PARTIALLY_REFUNDED")])
async def test_money_of_a_lost_dispute_has_gone_back_once(
    stripe_till: StripeTill, order: list[str], amount: int, status: str
) -> None:
    invoice, payment, intent = await _charged(stripe_till)
    for standing in [*order, "lost"]:
        kind = "charge.dispute.closed" if standing == "lost" else "charge.dispute.created"
        await stripe_till.hear(kind, _dispute(intent, standing, amount))
    refunds = (await stripe_till.account.get("/refunds", invoice_ids=invoice["id"]))["items"]
    assert [(row["refund_destination"], row["refund_status"], row["refund_reason"]) for row in refunds] == [
        ("OUT_OF_BAND", "SUCCEEDED", "FRAUDULENT")
    ]
    assert refunds[0]["amount"] == str(amount // 100)
    assert (await stripe_till.read(payment))["payment_status"] == status
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_refund_beside_a_lost_dispute_is_counted_apart(stripe_till: StripeTill) -> None:
    _, payment, intent = await _charged(stripe_till)
    await stripe_till.hear("charge.dispute.closed", _dispute(intent, "lost", 6000))
    stripe_till.books.add(
        "refund", "re", payment_intent=intent["id"], amount=4000, currency="usd", status="succeeded", metadata={}
    )
    await stripe_till.hear("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})
    assert (await stripe_till.read(payment))["payment_status"] == "REFUNDED"


async def test_a_lost_dispute_takes_money_off_a_customers_balance(stripe_till: StripeTill) -> None:
    customer, card = await stripe_till.desk.customer(), stripe_till.books.save_card()
    body = {
        "destination_type": "CUSTOMER",
        "destination_id": customer,
        "payment_method_type": "CARD",
        "payment_method_id": card,
        "payment_gateway": "stripe",
        "amount": "50",
        "currency": "usd",
        "process_payment": True,
    }
    payment = await stripe_till.account.post("/payments", body)
    intent = stripe_till.books.rows[payment["gateway_payment_id"]]
    await stripe_till.hear("charge.dispute.closed", _dispute(intent, "lost", 5000))
    assert (await stripe_till.read(payment))["payment_status"] == "REFUNDED"


async def test_a_refund_at_stripe_after_a_lost_dispute_takes_its_own_money_off_the_balance(
    stripe_till: StripeTill,
) -> None:
    customer, card = await stripe_till.desk.customer(), stripe_till.books.save_card()
    received: dict[str, Any] = {"destination_type": "CUSTOMER", "destination_id": customer, "payment_method_id": card}
    payment = await stripe_till.charge({"id": customer, "currency": "usd"}, method=card, **received)
    intent = stripe_till.books.rows[payment["gateway_payment_id"]]
    await stripe_till.hear("charge.dispute.closed", _dispute(intent, "lost", 3000))
    back = {"payment_intent": intent["id"], "amount": 5000, "currency": "usd", "status": "succeeded", "metadata": {}}
    stripe_till.books.add("refund", "re", **back)
    await stripe_till.hear("charge.refunded", {"id": "ch_1", "payment_intent": intent["id"]})
    (balance,) = (await stripe_till.account.get(f"/customers/{customer}/unapplied-money"))["balances"]
    assert balance["amount"] == "20"


async def test_a_refund_that_was_perhaps_sent_is_not_failed_when_its_connection_is_removed(
    stripe_till: StripeTill,
) -> None:
    """Else the money would be paid back a second time, into the customer's wallet."""
    invoice, _, _ = await _charged(stripe_till)
    stripe_till.books.faults += [("/refunds", "none")] + [("/refunds", "unanswered")] * 3
    assert (await _note(stripe_till, invoice))["refund_status"] == "PROCESSING"
    connection = (await stripe_till.account.get("/connections"))["connections"][0]
    await stripe_till.account.delete(f"/connections/{connection['id']}")
    await stripe_till.reconcile()
    refund = await _refund_of(stripe_till, invoice)
    assert refund["refund_status"] == "PROCESSING"
    async with stripe_till.account.transaction() as session:
        await session.execute(update(RefundRecord).values(sent_at=RefundRecord.sent_at - timedelta(minutes=16)))
    await stripe_till.account.post(f"/refunds/{refund['id']}/retry", None, 503)
    await stripe_till.connect()
    await stripe_till.reconcile(minutes=32)
    assert (await _refund_of(stripe_till, invoice))["refund_status"] == "SUCCEEDED"
    assert len(stripe_till.books.of("refund")) == 1


async def test_without_a_webhook_secret_nothing_is_believed(stripe_till: StripeTill) -> None:
    connection = (await stripe_till.account.get("/connections"))["connections"][0]
    body = {"encrypted_secret_data": {"webhook_secret": ""}}
    await stripe_till.account.put(f"/connections/{connection['id']}", body)
    answer = await stripe_till.receive(json.dumps({}).encode(), 400, "t=1,v1=0")
    assert "no webhook secret" in json.dumps(answer)


@pytest.mark.parametrize(
    ("secrets", "field"),
    [
        pytest.param({}, "secret_key", id="no key"),
        pytest.param({"secret_key": "pk_test_1"}, "secret_key", id="the publishable key"),
        pytest.param({"secret_key": "sk_live_1"}, "secret_key", id="a live key in a sandbox"),
        pytest.param({"secret_key": "rk_live_1"}, "secret_key", id="a live restricted key in a sandbox"),
        pytest.param({"secret_key": "sk_test_"}, "secret_key", id="half a key"),
        pytest.param({"secret_key": "sk_test_a b"}, "secret_key", id="a key with a space"),
        pytest.param({"secret_key": "sk_test_1\n"}, "secret_key", id="a key with the end of its line"),
        pytest.param({"secret_key": "sk_test_1", "publishable_key": "pk_live_1"}, "publishable_key", id="mixed modes"),
        pytest.param({"secret_key": "sk_test_1", "webhook_secret": "we_1"}, "webhook_secret", id="the endpoint's id"),
        pytest.param({"secret_key": "sk_test_1", "account_id": "1"}, "account_id", id="no account"),
    ],
)
async def test_keys_that_cannot_work_are_refused_by_name(account: Account, secrets: Any, field: str) -> None:
    body = {"name": "Stripe", "provider_type": "stripe", "encrypted_secret_data": secrets}
    answer = await account.post("/connections", body, 400)
    assert f"encrypted_secret_data.{field}" in json.dumps(answer["details"])
    whole = [value for value in secrets.values() if value != "sk_test_"]
    assert all(value not in json.dumps(answer) for value in whole)


async def test_invoices_cannot_be_set_to_be_copied(account: Account) -> None:
    body = {
        "name": "Stripe",
        "provider_type": "stripe",
        "encrypted_secret_data": {"secret_key": "sk_test_1"},
        "sync_config": {"invoice": {"outbound": True}},
    }
    await account.post("/connections", body, 400)
    made = await account.post("/connections", {**body, "sync_config": None})
    change = {"sync_config": body["sync_config"]}
    await account.put(f"/connections/{made['id']}", change, 400)
    await account.put(f"/connections/{made['id']}", {"encrypted_secret_data": {"secret_key": "sk_live_1"}}, 400)
    assert "sk_test" not in json.dumps(await account.get(f"/connections/{made['id']}"))


async def test_a_simulation_needs_no_keys(till: Till) -> None:
    assert (await till.connect())["metadata"] == {"mode": "test"}
