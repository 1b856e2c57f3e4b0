"""Unapplied money over HTTP: payments without an invoice, overpayments that are moved, and their allocation."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from tests.account import Account
from tests.credits.notes.notebook import Notebook
from tests.customers.conftest import new_customer
from tests.invoices.desk import fixed


async def receive(notebook: Notebook, customer: str, amount: str, **more: Any) -> dict[str, Any]:
    """Money recorded without an invoice."""
    body = {
        "destination_type": "CUSTOMER",
        "destination_id": customer,
        "payment_method_type": "OFFLINE",
        "amount": amount,
        "currency": "usd",
        "process_payment": True,
        **more,
    }
    answer: dict[str, Any] = await notebook.account.post("/payments", body)
    return answer


async def allocate(notebook: Notebook, customer: str, expect: int = 200, **body: Any) -> dict[str, Any]:
    path = f"/customers/{customer}/unapplied-money/allocate"
    answer: dict[str, Any] = await notebook.account.post(path, {"currency": "usd", **body}, expect)
    return answer


async def test_money_without_an_invoice_is_allocated_by_hand(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    first, second = [await notebook.desk.invoice([fixed(amount)], customer) for amount in ("50", "70")]
    await receive(notebook, customer, "100")
    assert await notebook.unapplied(customer) == {"usd": "100"}
    wanted = [{"invoice_id": first["id"], "amount": "50"}, {"invoice_id": second["id"], "amount": "30"}]
    answer = await allocate(notebook, customer, allocations=wanted)
    assert answer["allocations"] == wanted
    assert answer["balances"][0]["amount"] == "20"
    assert await notebook.till.standing(first) == ("SUCCEEDED", "50", "0")
    assert await notebook.till.standing(second) == ("PENDING", "30", "40")
    assert await notebook.faults() == []


async def test_the_invoices_due_first_have_it_first(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    late = await notebook.desk.invoice([fixed("60")], customer, due_date="2040-02-01T00:00:00Z")
    soon = await notebook.desk.invoice([fixed("50")], customer, due_date="2040-01-01T00:00:00Z")
    some_day = await notebook.desk.invoice([fixed("40")], customer)
    await receive(notebook, customer, "80")
    await receive(notebook, customer, "40", idempotency_key="second")
    answer = await allocate(notebook, customer)
    assert answer["allocations"] == [
        {"invoice_id": soon["id"], "amount": "50"},
        {"invoice_id": late["id"], "amount": "60"},
        {"invoice_id": some_day["id"], "amount": "10"},
    ]
    assert await notebook.unapplied(customer) == {}
    assert await notebook.faults() == []


@pytest.mark.parametrize(
    ("moved", "left", "status"),
    [
        pytest.param(None, "20", "SUCCEEDED", id="all of it"),
        pytest.param("5", "5", "OVERPAID", id="a part of it"),
    ],
)
async def test_an_overpayment_is_moved_and_pays_another_invoice(
    notebook: Notebook, moved: str | None, left: str, status: str
) -> None:
    customer = await notebook.desk.customer()
    invoice = await notebook.desk.invoice([fixed("100")], customer)
    other = await notebook.desk.invoice([fixed("30")], customer)
    await notebook.till.pay(invoice, "90")
    await notebook.till.pay(invoice, "30")
    path = f"/invoices/{invoice['id']}/overpayment/move"
    await notebook.account.post(path, {"amount": "20.01"}, 400)
    answer = await notebook.account.post(path, {"amount": moved} if moved else None, 200)
    assert (answer["payment_status"], Decimal(answer["amount_paid"])) == (status, 120 - Decimal(left))
    assert await notebook.unapplied(customer) == {"usd": left}
    await allocate(notebook, customer)
    assert (await notebook.till.standing(other))[1] == left
    assert await notebook.faults() == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount": "100.01"}, id="more than there is"),
        pytest.param({"amount": "0"}, id="nothing"),
        pytest.param({"amount": "0.001"}, id="finer than a cent"),
        pytest.param({"allocations": []}, id="no invoice"),
        pytest.param({"allocations": [{"invoice_id": "inv_x", "amount": "1"}]}, id="an unknown invoice"),
        pytest.param({"currency": "dollars"}, id="no currency"),
    ],
)
async def test_what_cannot_be_allocated_is_refused(notebook: Notebook, change: dict[str, Any]) -> None:
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "100")
    await allocate(notebook, customer, 400, **change)


async def test_strangers_paid_and_foreign_currency_invoices_take_none(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    await receive(notebook, customer, "500")
    stranger = await notebook.till.invoice("10")
    euros = await notebook.desk.invoice([fixed("10")], customer, currency="eur")
    paid = await notebook.desk.invoice([fixed("10")], customer)
    await notebook.till.pay(paid, "10")
    small = await notebook.desk.invoice([fixed("10")], customer)
    for invoice, amount in ((stranger, "10"), (euros, "10"), (paid, "1"), (small, "10.01")):
        await allocate(notebook, customer, 400, allocations=[{"invoice_id": invoice["id"], "amount": amount}])
    twice = [{"invoice_id": small["id"], "amount": "1"}] * 2
    await allocate(notebook, customer, 400, allocations=twice)
    assert await notebook.unapplied(customer) == {"usd": "500"}


async def test_allocated_at_once_no_money_is_used_twice(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    invoices = [await notebook.desk.invoice([fixed("30")], customer) for _ in range(6)]
    await receive(notebook, customer, "100")
    path = f"/customers/{customer}/unapplied-money/allocate"
    bodies = [
        {"currency": "usd", "allocations": [{"invoice_id": invoice["id"], "amount": "30"}]}
        for invoice in invoices
        for _ in range(2)
    ]
    answers = await asyncio.gather(*(notebook.account.http.post(path, json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {200: 3, 400: 9}
    assert await notebook.unapplied(customer) == {"usd": "10"}
    assert await notebook.faults() == []


async def test_moved_at_once_an_overpayment_is_moved_once(notebook: Notebook) -> None:
    invoice = await notebook.till.invoice("100")
    await notebook.till.pay(invoice, "140")
    path = f"/invoices/{invoice['id']}/overpayment/move"
    answers = await asyncio.gather(*(notebook.account.http.post(path, json={"amount": "40"}) for _ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 7}
    assert await notebook.unapplied(invoice["customer_id"]) == {"usd": "40"}
    assert await notebook.faults() == []


async def test_allocated_money_goes_back_to_the_payment_it_came_by(notebook: Notebook) -> None:
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    card = {"payment_method_type": "CARD", "payment_method_id": "pm_test_success", "payment_gateway": "stripe"}
    payment = await receive(notebook, customer, "100", **card)
    invoice = await notebook.desk.invoice([fixed("60")], customer)
    await allocate(notebook, customer)
    await notebook.credit(invoice, "60", refund_target="BACK_TO_SOURCE")
    (refund,) = await notebook.refunds(payment_ids=payment["id"])
    assert (refund["amount"], refund["refund_destination"], refund["refund_status"]) == ("60", "GATEWAY", "SUCCEEDED")
    assert (await notebook.till.read(payment))["payment_status"] == "PARTIALLY_REFUNDED"
    assert await notebook.unapplied(customer) == {"usd": "40"}
    assert await notebook.faults() == []


async def test_a_payment_whose_money_was_used_cannot_be_taken_back(notebook: Notebook) -> None:
    customer = await notebook.desk.customer()
    payment = await receive(notebook, customer, "100")
    unused = await receive(notebook, customer, "7")
    await notebook.desk.invoice([fixed("60")], customer)
    await allocate(notebook, customer)
    await notebook.account.put(f"/payments/{payment['id']}", {"payment_status": "VOIDED"}, 400)
    await notebook.account.put(f"/payments/{unused['id']}", {"payment_status": "VOIDED"})
    assert await notebook.unapplied(customer) == {"usd": "40"}
    assert await notebook.faults() == []


async def test_money_for_a_voided_invoice_is_a_refund_that_can_be_followed(notebook: Notebook) -> None:
    await notebook.till.connect()
    invoice = await notebook.till.invoice()
    payment = await notebook.till.link(invoice)
    await notebook.till.act(payment, "succeed", delivery="late")
    await notebook.account.post(f"/invoices/{invoice['id']}/void", {}, 200)
    await notebook.till.act(payment, "deliver")
    (refund,) = await notebook.refunds(payment_ids=payment["id"])
    assert (refund["refund_destination"], refund["refund_status"], refund["amount"]) == ("GATEWAY", "SUCCEEDED", "100")
    assert (await notebook.figures(invoice))["refunded_amount"] == "100"
    assert await notebook.faults() == []


async def test_a_customer_with_unapplied_money_is_not_deleted(account: Account) -> None:
    customer = await new_customer(account)
    body = {"destination_type": "CUSTOMER", "destination_id": customer["id"], "payment_method_type": "OFFLINE"}
    await account.post("/payments", {**body, "amount": "10", "currency": "usd", "process_payment": True}, 201)
    answer = await account.http.delete(f"/customers/{customer['id']}")
    assert answer.status_code == 400
    assert "unapplied money" in answer.json()["message"]
