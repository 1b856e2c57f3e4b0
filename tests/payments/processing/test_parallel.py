"""Many payments of one invoice at the same time: the sum is exact and nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from farthing.core.encoding.decoding import convert
from farthing.payments.processing.execution import record_payment
from farthing.payments.schemas import CreatePaymentRequest
from tests.payments.till import OK, Till
from tests.waiting import until_waited_for

Call = tuple[str, str, Any]
"""A method, a path and a body."""


@pytest.mark.parametrize(
    ("owed", "paid", "status", "remaining"),
    [("320", 32, "SUCCEEDED", "0"), ("321.07", 32, "PENDING", "1.07"), ("295", 30, "OVERPAID", "0")],
    ids=["exactly what is owed", "less than is owed", "no more than one after the other"],
)
async def test_32_offline_payments_at_once_are_what_they_are_one_after_the_other(
    till: Till, owed: str, paid: int, status: str, remaining: str
) -> None:
    invoice = await till.invoice(owed)
    bodies = [till.order(invoice, "10", idempotency_key=f"k{n}") for n in range(32)]
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == Counter({201: paid, 400: 32 - paid})
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == paid
    assert await till.standing(invoice) == (status, str(paid * 10), remaining)
    assert await till.settled(invoice) == Decimal(paid * 10)
    assert (await till.events(invoice["id"])).count("invoice.update.payment") == paid


@pytest.mark.parametrize("amount", ["100", "30", "140"], ids=["all that is owed", "a part", "more than is owed"])
@pytest.mark.parametrize("method", ["OFFLINE", "CARD"])
async def test_one_key_32_times_at_once_is_one_payment_for_everybody(till: Till, method: str, amount: str) -> None:
    if method == "CARD" and amount == "140":
        pytest.skip("a card is never charged more than is owed")
    await till.connect()
    invoice = await till.invoice()
    card = {"payment_method_id": OK, "payment_gateway": "stripe"} if method == "CARD" else {}
    body = till.order(invoice, amount, payment_method_type=method, idempotency_key="once", **card)
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = [answer for answer in answers if answer.headers.get("idempotent-replayed") == "true"]
    assert len(replayed) == 31
    assert await till.settled(invoice) == Decimal(amount)


async def test_32_equal_requests_at_once_without_keys_are_one_payment(till: Till) -> None:
    invoice = await till.invoice()
    body = till.order(invoice, "10")
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await till.standing(invoice) == ("PENDING", "10", "90")


async def test_cards_cash_and_links_at_once_keep_the_books(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice("1000")
    links = [await till.link(invoice, f"{n}.5") for n in range(1, 5)]
    cards = [
        till.order(
            invoice,
            "100",
            payment_method_type="CARD",
            payment_method_id=OK,
            payment_gateway="stripe",
            idempotency_key=f"c{n}",
        )
        for n in range(8)
    ]
    cash = [till.order(invoice, "20", idempotency_key=f"o{n}") for n in range(8)]
    await asyncio.gather(
        *(till.account.http.post("/payments", json=body) for body in (*cards, *cash)),
        *(till.act(link, "succeed", delivery="twice") for link in links),
    )
    payments = (await till.account.get("/payments", destination_id=invoice["id"]))["items"]
    paid = sum(Decimal(row["amount"]) for row in payments if row["payment_status"] == "SUCCEEDED")
    assert paid == 800 + 160 + 12
    assert await till.settled(invoice) == paid
    assert Decimal((await till.desk.get(invoice))["amount_paid"]) == paid


async def test_the_same_payment_marked_paid_at_once_settles_once(till: Till) -> None:
    invoice = await till.invoice()
    payment = await till.pay(invoice, payment_method_type="CARD", process_payment=False)
    path, body = f"/payments/{payment['id']}", {"payment_status": "SUCCEEDED"}
    answers = await asyncio.gather(*(till.account.http.put(path, json=body) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def offline(till: Till, invoice: dict[str, Any]) -> Call:
    return "POST", "/payments", till.order(invoice)


async def part(till: Till, invoice: dict[str, Any]) -> Call:
    return "POST", "/payments", till.order(invoice, "30")


async def too_much(till: Till, invoice: dict[str, Any]) -> Call:
    return "POST", "/payments", till.order(invoice, "140")


async def stored(till: Till, invoice: dict[str, Any]) -> Call:
    payment = await till.pay(invoice, process_payment=False)
    return "POST", f"/payments/{payment['id']}/process", {}


async def updated(till: Till, invoice: dict[str, Any]) -> Call:
    payment = await till.pay(invoice, process_payment=False)
    return "PUT", f"/payments/{payment['id']}", {"payment_status": "SUCCEEDED"}


async def marked(till: Till, invoice: dict[str, Any]) -> Call:
    return "PUT", f"/invoices/{invoice['id']}/payment", {"payment_status": "SUCCEEDED"}


async def card(till: Till, invoice: dict[str, Any]) -> Call:
    how = {"payment_method_type": "CARD", "payment_method_id": OK, "payment_gateway": "stripe"}
    return "POST", "/payments", till.order(invoice, **how)


@pytest.mark.parametrize(
    "way",
    [offline, part, too_much, stored, updated, marked, card],
    ids=["in full", "in part", "too much", "stored before", "by an update", "marked by hand", "by card"],
)
async def test_paid_and_voided_at_once_the_books_say_what_either_order_would(
    till: Till, way: Callable[[Till, dict[str, Any]], Awaitable[Call]]
) -> None:
    await till.connect()
    for _ in range(4):
        invoice = await till.invoice()
        method, path, body = await way(till, invoice)
        answers = await asyncio.gather(
            till.account.http.request(method, path, json=body),
            till.account.http.post(f"/invoices/{invoice['id']}/void", json={}),
        )
        assert {answer.status_code for answer in answers} <= {200, 201, 400, 409}
        after = await till.desk.get(invoice)
        if after["invoice_status"] == "VOIDED":
            assert after["refunded_amount"] == after["amount_paid"]
            assert after["payment_status"] != "SUCCEEDED"
        else:
            assert after["refunded_amount"] == "0"


async def test_what_is_stored_is_refused_when_the_invoice_was_paid_meanwhile(till: Till) -> None:
    invoice = await till.invoice()
    waiting = await till.pay(invoice, "60", process_payment=False)
    await till.pay(invoice)
    answer = await till.account.post(f"/payments/{waiting['id']}/process", None, 400)
    assert answer["details"]["payment_id"] == waiting["id"]
    assert (await till.read(waiting))["payment_status"] == "FAILED"
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")


async def test_paying_and_voiding_at_once_do_not_lock_each_other_up(till: Till) -> None:
    for _ in range(4):
        invoice = await till.invoice()
        waiting = await till.pay(invoice, "1", process_payment=False)
        calls = [
            till.account.http.post(f"/invoices/{invoice['id']}/void", json={}),
            till.account.http.post(f"/payments/{waiting['id']}/process"),
            *(
                till.account.http.post(
                    "/payments", json=till.order(invoice, "2", idempotency_key=f"{invoice['id'][-20:]}{n}")
                )
                for n in range(4)
            ),
        ]
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 201, 400}
        after = await till.desk.get(invoice)
        assert Decimal(after["amount_paid"]) == await till.settled(invoice)


async def test_a_key_that_is_used_meanwhile_for_another_invoice_is_refused(till: Till) -> None:
    invoice, other = await till.invoice(), await till.invoice()
    account = till.account
    asked = convert(till.order(invoice, "100", idempotency_key="once"), CreatePaymentRequest)
    async with account.transaction() as session:
        await record_payment(session, till.gateways(), asked, account.database.clock)
        rival = asyncio.create_task(account.http.post("/payments", json=till.order(other, idempotency_key="once")))
        await until_waited_for(session)
    assert (await rival).status_code == 409
    assert await till.standing(invoice) == ("SUCCEEDED", "100", "0")
    assert await till.standing(other) == ("PENDING", "0", "100")
    assert "payment.created" not in await till.events(other["id"])
