"""Charging a saved method: what each kind of answer of a provider does to the payment and its invoice."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import update

from farthing.invoices.receivable import PaymentStatus
from farthing.payments.providers.interface import Account, Payer, Refusal
from farthing.payments.tables import Payment
from farthing.payments.testing_provider import provider as simulator
from tests.payments.till import ASKS, DECLINED, OK, POOR, SLOW, TIMEOUT, Till


async def test_a_charge_that_succeeds_pays_the_invoice(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice)
    assert payment["payment_status"] == "SUCCEEDED"
    assert payment["gateway_payment_id"].startswith("ch_test_")
    assert [(a["attempt_number"], a["payment_status"]) for a in payment["attempts"]] == [(1, "SUCCEEDED")]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert await till.events(payment["id"]) == ["payment.created", "payment.pending", "payment.success"]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        pytest.param(DECLINED, "The card was declined", id="declined"),
        pytest.param(POOR, "The card has insufficient funds", id="insufficient funds"),
        pytest.param("pm_nobody", "No such payment method: 'pm_nobody'", id="a method the provider does not know"),
    ],
)
async def test_a_refusal_fails_the_payment_and_shows_on_the_invoice(till: Till, method: str, reason: str) -> None:
    await till.connect()
    invoice = await till.invoice()
    answer = await till.charge(invoice, method=method, expect=400)
    assert answer["code"] == "invalid_operation"
    payment = await till.account.get(f"/payments/{answer['details']['payment_id']}")
    assert (payment["payment_status"], payment["error_message"]) == ("FAILED", reason)
    assert payment["failed_at"]
    assert payment["attempts"][0]["error_message"] == reason
    assert await till.standing(invoice) == ("FAILED", "0", "100")
    assert await till.events(payment["id"]) == ["payment.created", "payment.pending", "payment.failed"]
    await till.charge(invoice)
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_timeout_leaves_it_in_flight_until_the_duty_asks(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, method=TIMEOUT)
    assert payment["payment_status"] == "PROCESSING"
    assert await till.standing(invoice) == ("PENDING", "0", "100")
    assert await till.reconcile(minutes=14) == 0
    assert await till.reconcile() == 1
    payment = await till.read(payment)
    assert payment["payment_status"] == "SUCCEEDED"
    assert payment["gateway_payment_id"]
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert await till.reconcile() == 0


async def test_a_crash_before_the_provider_heard_of_it_ends_as_a_failure(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, process_payment=False)
    async with till.account.transaction() as session:
        await session.execute(
            update(Payment)
            .where(Payment.id == payment["id"])
            .values(payment_status=PaymentStatus.PROCESSING, processing_since=Payment.created_at)
        )
    await till.reconcile()
    assert (await till.read(payment))["payment_status"] == "FAILED"


@pytest.mark.parametrize(
    ("method", "waiting"), [(SLOW, "PROCESSING"), (ASKS, "PENDING")], ids=["processing", "requires action"]
)
@pytest.mark.parametrize(
    ("action", "status", "standing"),
    [
        ("succeed", "SUCCEEDED", ("SUCCEEDED", "100", "0")),
        ("fail", "FAILED", ("FAILED", "0", "100")),
        ("expire", "FAILED", ("FAILED", "0", "100")),
    ],
)
async def test_a_charge_that_waits_is_settled_by_webhook(
    till: Till, method: str, waiting: str, action: str, status: str, standing: tuple[str, str, str]
) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, method=method)
    assert payment["payment_status"] == waiting
    assert payment["gateway_metadata"]["test_session"] == payment["gateway_tracking_id"]
    await till.reconcile()
    assert (await till.read(payment))["payment_status"] == waiting
    done = await till.act(payment, action)
    assert [sent["status_code"] for sent in done["webhooks"]] == [200]
    assert (await till.read(payment))["payment_status"] == status
    assert await till.standing(invoice) == standing


async def test_what_the_duty_finds_first_a_later_webhook_does_not_repeat(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, method=SLOW)
    await till.act(payment, "succeed", delivery="late")
    await till.reconcile()
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await till.act(payment, "deliver")
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.events(payment["id"])).count("payment.success") == 1
    assert len((await till.read(payment))["attempts"]) == 1


async def test_an_invoice_with_a_payment_in_flight_cannot_be_voided(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, method=SLOW)
    answer = await till.account.post(f"/invoices/{invoice['id']}/void", {}, 400)
    assert answer["code"] == "invalid_operation"
    assert answer["details"]["payment_id"] == payment["id"]


async def test_what_is_in_flight_is_reserved(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    await till.charge(invoice, "70", method=SLOW)
    answer = await till.charge(invoice, "40", expect=400)
    assert "exceeds" in answer["details"]["reason"]
    await till.charge(invoice, "30")
    assert await till.standing(invoice) == ("PENDING", "30", "70")


async def test_parallel_charges_never_take_more_than_is_owed(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    bodies = [
        till.order(
            invoice,
            "30",
            payment_method_type="CARD",
            payment_method_id=OK,
            payment_gateway="stripe",
            idempotency_key=f"k{n}",
        )
        for n in range(12)
    ]
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for body in bodies))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * 3 + [400] * 9, [answer.text for answer in answers]
    assert await till.standing(invoice) == ("PENDING", "90", "10")
    assert await till.settled(invoice) == Decimal(90)


async def test_parallel_requests_with_one_key_charge_once(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    body = till.order(
        invoice, "40", payment_method_type="CARD", payment_method_id=OK, payment_gateway="stripe", idempotency_key="one"
    )
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await till.standing(invoice) == ("PENDING", "40", "60")


async def test_whoever_made_a_payment_and_is_overtaken_by_its_repeat_is_answered_alike(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request stands still at the provider; an equal one charges meanwhile."""
    asked, goes_on = asyncio.Event(), asyncio.Event()
    ensure_customer = simulator.TestProvider.ensure_customer

    async def stand_still_at_first(provider: simulator.TestProvider, payer: Payer, *, key: str) -> Account | Refusal:
        if not asked.is_set():
            asked.set()
            await goes_on.wait()
        return await ensure_customer(provider, payer, key=key)

    await till.connect()
    invoice = await till.invoice()
    body = till.order(
        invoice, "40", payment_method_type="CARD", payment_method_id=OK, payment_gateway="stripe", idempotency_key="one"
    )
    monkeypatch.setattr(simulator.TestProvider, "ensure_customer", stand_still_at_first)
    first = asyncio.create_task(till.account.http.post("/payments", json=body))
    await asked.wait()
    repeat = await till.account.http.post("/payments", json=body)
    goes_on.set()
    answer = await first
    assert (answer.status_code, repeat.status_code) == (201, 201), (answer.text, repeat.text)
    assert answer.json()["id"] == repeat.json()["id"]
    assert answer.json()["payment_status"] == repeat.json()["payment_status"] == "SUCCEEDED"
    assert await till.standing(invoice) == ("PENDING", "40", "60")


async def test_processing_twice_at_once_charges_once(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, process_payment=False)
    assert payment["payment_status"] == "INITIATED"
    answers = await asyncio.gather(*(till.account.http.post(f"/payments/{payment['id']}/process") for _ in range(6)))
    assert min(answer.status_code for answer in answers) == 200
    assert {answer.status_code for answer in answers} <= {200, 400, 409}
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert (await till.events(payment["id"])).count("payment.pending") == 1


async def test_a_retried_request_with_a_header_key_charges_once_even_when_declined(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    body = till.order(invoice, payment_method_type="CARD", payment_method_id=DECLINED, payment_gateway="stripe")
    headers = {"Idempotency-Key": "retry-1"}
    first = await till.account.http.post("/payments", json=body, headers=headers)
    again = await till.account.http.post("/payments", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.json() == first.json()
    assert (await till.account.get("/payments"))["pagination"]["total"] == 1


async def test_without_a_connection_a_charge_fails_and_a_link_stays_initiated(till: Till) -> None:
    invoice = await till.invoice()
    answer = await till.charge(invoice, expect=400)
    payment = await till.account.get(f"/payments/{answer['details']['payment_id']}")
    assert (payment["payment_status"], payment["error_message"]) == ("FAILED", "No payment provider is connected")
    answer = await till.pay(invoice, expect=400, payment_method_type="PAYMENT_LINK", payment_gateway="razorpay")
    link = await till.account.get(f"/payments/{answer['details']['payment_id']}")
    assert link["payment_status"] == "INITIATED"


async def test_a_provider_without_an_adapter_is_not_implemented_and_leaves_nothing(till: Till) -> None:
    await till.account.post(
        "/connections",
        {"name": "Live", "provider_type": "razorpay", "encrypted_secret_data": {"secret_key": "rzp_live_1"}},
    )
    invoice = await till.invoice()
    answer = await till.charge(invoice, expect=501, payment_gateway="razorpay")
    assert answer["code"] == "not_implemented"
    assert (await till.account.get("/payments"))["items"] == []


async def test_money_that_arrives_after_a_failure_is_recorded(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, method=SLOW)
    await till.account.put(f"/payments/{payment['id']}", {"payment_status": "FAILED"})
    assert await till.standing(invoice) == ("FAILED", "0", "100")
    await till.act(payment, "succeed")
    payment = await till.read(payment)
    assert payment["payment_status"] == "SUCCEEDED"
    assert "failed_at" not in payment
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_a_draft_is_finalized_before_it_is_charged(till: Till) -> None:
    await till.connect()
    draft = await till.invoice(invoice_status="DRAFT")
    await till.charge(draft, method=DECLINED, expect=400)
    after = await till.desk.get(draft)
    assert (after["invoice_status"], after["payment_status"]) == ("FINALIZED", "FAILED")


async def test_a_charge_is_made_once_at_the_provider_however_often_it_is_asked_for(till: Till) -> None:
    connection = await till.connect()
    invoice = await till.invoice()
    payment = await till.charge(invoice, "40")
    async with till.account.transaction(read_only=True) as session:
        from farthing.payments.tables import Connection

        row = await session.get_one(Connection, connection["id"])
    provider = till.gateways().behind(row)
    amount = Decimal(40)
    again = await provider.charge_saved_method(
        OK, amount, "usd", payment["id"], None, return_url=None, key=payment["id"]
    )
    assert getattr(again, "gateway_payment_id", None) == payment["gateway_payment_id"]
    sent = [await provider.refund(payment["gateway_payment_id"], amount, key="r") for _ in range(2)]
    assert sent[0] == sent[1]
    more = await provider.refund(payment["gateway_payment_id"], amount, key="r2")
    assert getattr(more, "code", None) == "amount_too_large"
