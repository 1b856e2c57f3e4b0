"""Many payments of one invoice at the same time: the sum is exact and nothing is lost."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from tests.payments.till import OK, Till


@pytest.mark.parametrize(
    ("owed", "status", "remaining"),
    [("320", "SUCCEEDED", "0"), ("321.07", "PENDING", "1.07"), ("300", "OVERPAID", "0")],
    ids=["exactly what is owed", "less than is owed", "more than is owed"],
)
async def test_32_offline_payments_at_once_all_count(till: Till, owed: str, status: str, remaining: str) -> None:
    invoice = await till.invoice(owed)
    bodies = [till.order(invoice, "10", idempotency_key=f"k{n}") for n in range(32)]
    answers = await asyncio.gather(*(till.account.http.post("/payments", json=body) for body in bodies))
    assert [answer.status_code for answer in answers if answer.status_code != 201] == []
    assert len({answer.json()["id"] for answer in answers}) == 32
    assert await till.standing(invoice) == (status, "320", remaining)
    assert await till.settled(invoice) == Decimal(320)
    assert (await till.events(invoice["id"])).count("invoice.update.payment") == 32


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
