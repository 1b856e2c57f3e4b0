"""Charging saved methods at Stripe: what the bank says, what gets lost, and payers who have to confirm."""

from __future__ import annotations

import asyncio

import pytest

from farthing.core.clock import SystemClock
from farthing.payments.processing.execution import carry_on
from farthing.payments.tables import Payment
from tests.payments.stripe.stripe_till import StripeTill


async def test_a_charge_settles_its_invoice(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    payment = await stripe_till.charge(invoice, method=card)
    intent = stripe_till.books.of("payment_intent")[0]
    assert (payment["payment_status"], payment["gateway_payment_id"]) == ("SUCCEEDED", intent["id"])
    assert (intent["amount"], intent["currency"]) == (10000, "usd")
    assert intent["metadata"]["farthing_payment_id"] == payment["id"]
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [("declined", "generic_decline"), ("poor", "insufficient_funds"), ("stolen", "stolen_card")],
)
async def test_a_refusal_is_a_failed_payment_that_names_its_reason(
    stripe_till: StripeTill, behaviour: str, code: str
) -> None:
    invoice, card = await stripe_till.card(behaviour)
    answer = await stripe_till.charge(invoice, method=card, expect=400)
    payment = await stripe_till.account.get(f"/payments/{answer['details']['payment_id']}")
    assert (payment["payment_status"], payment["gateway_payment_id"][:3]) == ("FAILED", "pi_")
    assert payment["attempts"][0]["metadata"] == {"code": code}
    assert payment["error_message"].startswith("Your card")
    assert await stripe_till.standing(invoice) == ("FAILED", "0", "100")


@pytest.mark.parametrize("fault", ["lost", "unanswered", "busy", "broken"])
async def test_what_got_lost_once_is_asked_for_again_and_made_once(stripe_till: StripeTill, fault: str) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults.append(("/payment_intents", fault))
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "SUCCEEDED"
    assert len(stripe_till.books.of("payment_intent")) == 1
    keys = {key for method, path, key in stripe_till.books.requests if (method, path) == ("POST", "/payment_intents")}
    assert keys == {payment["id"]}


@pytest.mark.parametrize("keys_forgotten", [False, True], ids=["key still known", "key long forgotten"])
async def test_a_charge_whose_answer_never_came_is_found_by_the_duty(
    stripe_till: StripeTill, keys_forgotten: bool
) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/payment_intents", "unanswered")] * 3
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "PROCESSING"
    if keys_forgotten:
        stripe_till.books.answers.clear()
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"
    assert len(stripe_till.books.of("payment_intent")) == 1
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_killed_after_the_charge_and_before_it_was_stored_the_repeat_finds_it(stripe_till: StripeTill) -> None:
    """The state that kill -9 leaves: PROCESSING here, done there; also where Stripe has forgotten the key."""
    invoice, card = await stripe_till.card()
    headers = {"Idempotency-Key": "once"}
    order = stripe_till.order(
        invoice, payment_method_type="CARD", payment_method_id=card, payment_gateway="stripe", idempotency_key="k"
    )
    stripe_till.books.faults += [("/payment_intents", "unanswered")] * 3
    first = await stripe_till.account.http.post("/payments", json=order)
    assert first.json()["payment_status"] == "PROCESSING"
    stripe_till.books.answers.clear()
    again = await stripe_till.account.http.post(f"/payments/{first.json()['id']}/process", headers=headers)
    assert again.status_code in {200, 400}
    await stripe_till.reconcile()
    assert len(stripe_till.books.of("payment_intent")) == 1
    assert await stripe_till.settled(invoice) == 100


async def test_a_charge_that_stripe_never_heard_of_ends_as_a_failure(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/payment_intents", "lost")] * 3
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "PROCESSING"
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "FAILED"
    assert stripe_till.books.of("payment_intent") == []


async def test_while_stripe_cannot_be_asked_nothing_is_decided(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/payment_intents", "unanswered")] * 3 + [("/payment_intents", "broken")] * 3
    payment = await stripe_till.charge(invoice, method=card)
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "PROCESSING"
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"


async def test_while_the_key_is_refused_a_charge_that_was_made_is_not_taken_for_failed(stripe_till: StripeTill) -> None:
    """Else the next collection would charge once more."""
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/payment_intents", "unanswered")] * 3
    made = await stripe_till.charge(invoice, method=card)
    for secret_key, status in (("sk_test_revoked_abcdefgh", "PROCESSING"), (stripe_till.secret_key, "SUCCEEDED")):
        await stripe_till.use_key(secret_key)
        async with stripe_till.account.database.session(stripe_till.account.scope) as session:
            payment = await session.get_one(Payment, made["id"])
            await carry_on(session, stripe_till.gateways(), payment, SystemClock())
        assert (await stripe_till.read(made))["payment_status"] == status
    assert len(stripe_till.books.of("payment_intent")) == 1


async def test_equal_requests_at_once_charge_once(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    order = stripe_till.order(
        invoice, "40", payment_method_type="CARD", payment_method_id=card, payment_gateway="stripe", idempotency_key="k"
    )
    answers = await asyncio.gather(*(stripe_till.account.http.post("/payments", json=order) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len(stripe_till.books.of("payment_intent")) == 1
    assert await stripe_till.settled(invoice) == 40


async def test_a_payer_who_has_to_confirm_gets_a_page_and_the_payment_waits(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("absent")
    payment = await stripe_till.charge(invoice, method=card)
    intent = stripe_till.books.of("payment_intent")[0]
    assert payment["payment_status"] == "PENDING"
    assert payment["payment_url"] == f"https://hooks.stripe.test/redirect/{intent['id']}"
    assert await stripe_till.standing(invoice) == ("PENDING", "0", "100")
    again = await stripe_till.account.post(f"/payments/{payment['id']}/process", expect=200)
    assert again["payment_status"] == "PENDING"
    assert stripe_till.asked("POST", "/payment_intents") == 1
    await stripe_till.hear("payment_intent.succeeded", stripe_till.books.confirm(intent["id"]))
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"
    assert await stripe_till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_the_refusal_that_made_a_page_necessary_fails_nothing(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("absent")
    payment = await stripe_till.charge(invoice, method=card)
    intent = stripe_till.books.of("payment_intent")[0]
    error = {"code": "authentication_required", "decline_code": "authentication_required", "message": "Confirm."}
    refused = {**intent, "status": "requires_payment_method", "last_payment_error": error, "next_action": None}
    await stripe_till.hear("payment_intent.payment_failed", refused)
    assert (await stripe_till.read(payment))["payment_status"] == "PENDING"


async def test_a_payer_who_does_not_confirm_has_not_paid(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("absent")
    payment = await stripe_till.charge(invoice, method=card)
    intent = stripe_till.books.of("payment_intent")[0]
    error = {"code": "payment_intent_authentication_failure", "message": "The bank could not confirm it."}
    intent.update(status="requires_payment_method", last_payment_error=error, next_action=None)
    await stripe_till.hear("payment_intent.payment_failed", intent)
    payment = await stripe_till.read(payment)
    assert (payment["payment_status"], payment["error_message"]) == ("FAILED", "The bank could not confirm it.")
    assert await stripe_till.standing(invoice) == ("FAILED", "0", "100")


async def test_cut_off_before_the_page_was_made_the_duty_makes_it(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("absent")
    stripe_till.books.faults += [("/payment_intents/", "lost")] * 3
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "PROCESSING"
    await stripe_till.reconcile()
    payment = await stripe_till.read(payment)
    assert payment["payment_status"] == "PENDING"
    assert payment["payment_url"].startswith("https://hooks.stripe.test/")


async def test_voiding_its_invoice_cancels_a_charge_that_waits_for_its_payer(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("absent")
    payment = await stripe_till.charge(invoice, method=card)
    await stripe_till.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "VOIDED"
    assert stripe_till.books.of("payment_intent")[0]["status"] == "canceled"


async def test_a_slow_bank_is_waited_for(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card("slow")
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "PROCESSING"
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "PROCESSING"
    stripe_till.books.confirm(payment["gateway_payment_id"])
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("currency", "amount", "units"),
    [
        pytest.param("jpy", "500", 500, id="yen are whole"),
        pytest.param("isk", "500", 50000, id="krónur are written with two noughts"),
        pytest.param("kwd", "5.12", 5120, id="dinars end in nought"),
        pytest.param("kwd", "5.124", None, id="a tenth of a fils too many"),
        pytest.param("mga", "5", 5, id="ariary are whole"),
        pytest.param("mga", "5.20", None, id="ariary with a fraction"),
    ],
)
async def test_an_amount_is_charged_exactly_or_refused(
    stripe_till: StripeTill, currency: str, amount: str, units: int | None
) -> None:
    bill = await stripe_till.invoice(amount, currency=currency)
    card = stripe_till.books.save_card()
    answer = await stripe_till.charge(bill, amount, method=card, expect=400 if units is None else 201)
    intents = stripe_till.books.of("payment_intent")
    assert [intent["amount"] for intent in intents] == ([] if units is None else [units])
    if units is None:
        assert "exactly" in answer["details"]["reason"]
    else:
        assert (answer["payment_status"], answer["amount"]) == ("SUCCEEDED", amount)


async def test_a_key_that_was_revoked_is_named_without_being_quoted(stripe_till: StripeTill) -> None:
    await stripe_till.use_key("sk_test_revoked_abcdefgh")
    invoice, card = await stripe_till.card()
    answer = await stripe_till.account.http.post(
        "/payments",
        json=stripe_till.order(invoice, payment_method_type="CARD", payment_method_id=card, payment_gateway="stripe"),
    )
    assert answer.status_code == 400
    assert "does not accept the secret key" in answer.text
    assert "sk_test" not in answer.text
    assert "efgh" not in answer.text


async def test_a_card_of_another_customer_is_refused(stripe_till: StripeTill) -> None:
    invoice, _ = await stripe_till.card()
    stripe_till.books.rows["cus_else"] = {"id": "cus_else", "object": "customer"}
    card = stripe_till.books.save_card("cus_else")
    answer = await stripe_till.charge(invoice, method=card, expect=400)
    assert "another customer" in answer["details"]["reason"]


async def test_a_customer_is_made_once_also_when_its_name_changes_in_between(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/customers", "unanswered")] * 3
    await stripe_till.account.http.post(
        "/payments",
        json=stripe_till.order(invoice, payment_method_type="CARD", payment_method_id=card, payment_gateway="stripe"),
    )
    await stripe_till.account.put(f"/customers/{invoice['customer_id']}", {"name": "Renamed"})
    payment = await stripe_till.charge(invoice, method=card)
    assert payment["payment_status"] == "SUCCEEDED"


async def test_without_a_link_to_the_customer_there_nobody_decides(stripe_till: StripeTill) -> None:
    invoice, card = await stripe_till.card()
    stripe_till.books.faults += [("/payment_intents", "unanswered")] * 3
    payment = await stripe_till.charge(invoice, method=card)
    linked = {"entity_type": "customer", "entity_id": invoice["customer_id"], "provider_type": "stripe"}
    answer = await stripe_till.account.http.request("DELETE", "/integrations/link", json=linked)
    assert answer.status_code == 200, answer.text
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "PROCESSING"
    mended = {**linked, "provider_entity_id": stripe_till.books.of("customer")[0]["id"]}
    await stripe_till.account.post("/integrations/link", mended, 200)
    await stripe_till.reconcile()
    assert (await stripe_till.read(payment))["payment_status"] == "SUCCEEDED"
