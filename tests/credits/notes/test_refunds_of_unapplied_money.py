"""Unapplied money goes back to who paid it: through the provider or by hand, in parts, and never more than there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from farthing.core.clock import SystemClock
from farthing.payments.refunds.records import BalanceRefund
from farthing.payments.refunds.tables import RefundReason
from farthing.payments.refunds.unapplied import BalanceRefundRequest, refund_unapplied_money
from tests.credits.notes.notebook import Notebook
from tests.credits.notes.test_unapplied_money import receive
from tests.invoices.desk import fixed

CARD = {"payment_method_type": "CARD", "payment_method_id": "pm_test_success", "payment_gateway": "stripe"}
LINK = {"payment_method_type": "PAYMENT_LINK", "payment_gateway": "stripe"}


async def give_back(notebook: Notebook, customer: str, expect: int = 200, **body: Any) -> dict[str, Any]:
    path = f"/customers/{customer}/unapplied-money/refund"
    asked = {"currency": "usd", "refund_reason": "REQUESTED_BY_CUSTOMER", **body}
    answer: dict[str, Any] = await notebook.account.post(path, asked, expect)
    return answer


def ways(answer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(refund["refund_destination"], refund["amount"], refund["refund_status"]) for refund in answer["refunds"]]


async def test_money_received_by_hand_goes_back_in_parts(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    payment = await receive(notebook, customer, "100")
    answer = await give_back(notebook, customer, amount="30", reference="Transfer 4711")
    (refund,) = answer["refunds"]
    assert ways(answer) == [("OUT_OF_BAND", "30", "SUCCEEDED")]
    assert (refund["reference"], refund["refund_reason"]) == ("Transfer 4711", "REQUESTED_BY_CUSTOMER")
    assert refund["payment_id"] == payment["id"]
    assert answer["balances"][0]["money"][0]["withdrawn"] == "30"
    assert (await notebook.till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    assert await notebook.till.events(refund["id"]) == ["refund.created", "refund.succeeded"]
    await give_back(notebook, customer, 400, amount="70.01")
    assert ways(await give_back(notebook, customer)) == [("OUT_OF_BAND", "70", "SUCCEEDED")]
    assert await notebook.unapplied(customer) == {}
    assert (await notebook.till.read(payment))["payment_status"] == "REFUNDED"
    await give_back(notebook, customer, 400)
    assert await notebook.faults() == []


async def test_money_that_a_provider_took_goes_back_through_it(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    payment = await receive(notebook, customer, "100", **CARD)
    answer = await give_back(notebook, customer, amount="40")
    assert ways(answer) == [("GATEWAY", "40", "SUCCEEDED")]
    assert answer["balances"][0]["amount"] == "60"
    assert (await notebook.till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    assert await notebook.refunds(payment_ids=payment["id"]) == answer["refunds"]
    assert await notebook.faults() == []


async def test_providers_come_first_and_the_newest_money(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "10", **CARD, idempotency_key="first")
    await receive(notebook, customer, "20", **CARD, idempotency_key="second")
    await receive(notebook, customer, "50")
    assert ways(await give_back(notebook, customer, amount="35")) == [
        ("GATEWAY", "20", "SUCCEEDED"),
        ("GATEWAY", "10", "SUCCEEDED"),
        ("OUT_OF_BAND", "5", "SUCCEEDED"),
    ]
    assert await notebook.unapplied(customer) == {"usd": "45"}
    assert await notebook.faults() == []


async def test_what_a_note_set_aside_goes_back_by_hand_alone(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([fixed("60")], customer)
    await notebook.till.pay(invoice, "60")
    await notebook.credit(invoice, "60", split={"next_invoice": "60"})
    await give_back(notebook, customer, 400, refund_destination="GATEWAY")
    assert ways(await give_back(notebook, customer, amount="25")) == [("OUT_OF_BAND", "25", "SUCCEEDED")]
    assert await notebook.unapplied(customer) == {"usd": "35"}
    following = await notebook.desk.invoice([fixed("100")], customer)
    assert (await notebook.till.standing(following))[1] == "35"
    assert await notebook.faults() == []


async def test_a_moved_overpayment_goes_back_and_the_invoice_stays_paid(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice("100")
    first = await notebook.till.charge(invoice, "60")
    await notebook.till.pay(invoice, "70")
    await notebook.account.post(f"/invoices/{invoice['id']}/overpayment/move", None, 200)
    customer = invoice["customer_id"]
    assert ways(await give_back(notebook, customer)) == [("OUT_OF_BAND", "30", "SUCCEEDED")]
    assert await notebook.till.standing(invoice) == ("SUCCEEDED", "100", "0")
    await notebook.credit(invoice, "100", refund_target="BACK_TO_SOURCE")
    (refund,) = await notebook.refunds(payment_ids=first["id"])
    assert (refund["amount"], refund["refund_destination"]) == ("60", "GATEWAY")
    assert await notebook.faults() == []


async def test_a_provider_that_refuses_leaves_the_money_on_the_balance(notebook: Notebook) -> None:
    """Somebody has refunded 80 of 100 at the provider before it was heard of here."""
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    payment = await receive(notebook, customer, "100", **LINK)
    await notebook.till.act(payment, "succeed")
    await notebook.till.act(payment, "refund", amount="80", delivery="late")
    answer = await give_back(notebook, customer, amount="50")
    assert ways(answer) == [("GATEWAY", "50", "FAILED")]
    assert await notebook.unapplied(customer) == {"usd": "100"}
    refund_id = answer["refunds"][0]["id"]
    await notebook.account.post(f"/refunds/{refund_id}/retry", None, 400)
    await notebook.till.act(payment, "deliver")
    assert await notebook.unapplied(customer) == {"usd": "20"}
    assert ways(await give_back(notebook, customer)) == [("GATEWAY", "20", "SUCCEEDED")]
    assert await notebook.faults() == []


async def test_what_was_given_back_by_hand_is_not_taken_for_the_providers(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    payment = await receive(notebook, customer, "100", **LINK)
    await notebook.till.act(payment, "succeed")
    answer = await give_back(notebook, customer, amount="30", refund_destination="OUT_OF_BAND")
    assert ways(answer) == [("OUT_OF_BAND", "30", "SUCCEEDED")]
    await notebook.till.act(payment, "refund", amount="20")
    assert await notebook.unapplied(customer) == {"usd": "50"}
    assert ways(await give_back(notebook, customer, amount="50")) == [("GATEWAY", "50", "SUCCEEDED")]
    assert (await notebook.till.read(payment))["payment_status"] == "REFUNDED"
    assert await notebook.faults() == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount": "100.01"}, id="more than there is"),
        pytest.param({"amount": "0"}, id="nothing"),
        pytest.param({"amount": "-1"}, id="less than nothing"),
        pytest.param({"amount": "0.001"}, id="finer than a cent"),
        pytest.param({"currency": "eur"}, id="a currency in which there is none"),
        pytest.param({"currency": "dollars"}, id="no currency"),
        pytest.param({"refund_reason": "WHIM"}, id="no reason"),
        pytest.param({"refund_destination": "WALLET"}, id="into a wallet"),
        pytest.param({"refund_destination": "GATEWAY"}, id="through no provider"),
        pytest.param({"unapplied_money_id": "upm_x"}, id="unknown money"),
        pytest.param({"reference": ""}, id="an empty reference"),
    ],
)
async def test_what_cannot_go_back_is_refused(notebook: Notebook, change: dict[str, Any]) -> None:
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100")
    await give_back(notebook, customer, 400, **change)
    assert await notebook.unapplied(customer) == {"usd": "100"}


async def test_a_stated_source_alone_goes_back(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    older = await receive(notebook, customer, "10")
    await receive(notebook, customer, "20", idempotency_key="newer")
    balances = (await notebook.account.get(f"/customers/{customer}/unapplied-money"))["balances"]
    money_id = next(row["id"] for row in balances[0]["money"] if row["payment_id"] == older["id"])
    await give_back(notebook, customer, 400, unapplied_money_id=money_id, amount="11")
    answer = await give_back(notebook, customer, unapplied_money_id=money_id)
    assert [refund["payment_id"] for refund in answer["refunds"]] == [older["id"]]
    assert await notebook.unapplied(customer) == {"usd": "20"}


async def test_refunded_and_allocated_at_once_no_money_is_used_twice(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100")
    for _ in range(4):
        await notebook.desk.invoice([fixed("30")], customer)
    body = {"currency": "usd", "amount": "30"}
    path = f"/customers/{customer}/unapplied-money"
    http = notebook.account.http
    answers = await asyncio.gather(
        *(http.post(f"{path}/refund", json={**body, "refund_reason": "OTHER"}) for _ in range(6)),
        *(http.post(f"{path}/allocate", json=body) for _ in range(4)),
    )
    assert Counter(answer.status_code for answer in answers) == {200: 3, 400: 7}
    assert await notebook.unapplied(customer) == {"usd": "10"}
    assert await notebook.faults() == []


async def test_a_repeated_request_gives_back_once(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100", **CARD)
    path = f"/customers/{customer}/unapplied-money/refund"
    body = {"currency": "usd", "amount": "40", "refund_reason": "DUPLICATE"}
    answers = [await notebook.account.http.post(path, json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert await notebook.unapplied(customer) == {"usd": "60"}


async def test_a_refund_that_hangs_is_completed_by_the_duty(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100", **CARD)
    asked = BalanceRefundRequest(customer, "usd", Decimal(40), None, None, BalanceRefund(RefundReason.OTHER, None))
    async with notebook.account.transaction() as session:
        await refund_unapplied_money(session, asked, SystemClock().now())
    assert await notebook.unapplied(customer) == {"usd": "60"}
    assert await notebook.faults() == []
    await notebook.till.reconcile()
    (refund,) = await notebook.refunds()
    assert refund["refund_status"] == "SUCCEEDED"
    assert await notebook.unapplied(customer) == {"usd": "60"}
    assert await notebook.faults() == []
