"""Whatever is done to an invoice's payments, in whatever order, the books agree."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from farthing.invoices.receivable import PaymentStatus
from farthing.payments.states import SETTLING
from tests.payments.till import DECLINED, OK, SLOW, TIMEOUT, Till

STEPS = 25


async def step(till: Till, chance: random.Random, invoice: dict[str, Any], links: list[dict[str, Any]]) -> None:
    """One random thing that a caller, a payer or the duty does; refusals are part of life."""
    http = till.account.http
    amount = str(Decimal(chance.randrange(1, 6000)) / 100)
    what = chance.choice(["cash", "card", "link", "page", "put", "put", "process", "duty", "mark"])
    card = {"payment_method_type": "CARD", "payment_gateway": "stripe"}
    link = {"payment_method_type": "PAYMENT_LINK", "payment_gateway": "stripe"}
    known = (await till.account.get("/payments", destination_id=invoice["id"]))["items"]
    if what == "cash":
        await http.post("/payments", json=till.order(invoice, amount, process_payment=chance.random() < 0.7))
    elif what == "card":
        method = chance.choice([OK, OK, DECLINED, SLOW, TIMEOUT])
        await http.post("/payments", json=till.order(invoice, amount, payment_method_id=method, **card))
    elif what == "link":
        answer = await http.post("/payments", json=till.order(invoice, amount, **link))
        if answer.status_code == 201:
            links.append(answer.json())
    elif what == "page" and (open_pages := [p for p in (*links, *known) if p.get("gateway_tracking_id")]):
        page = chance.choice(open_pages)["gateway_tracking_id"]
        action = chance.choice(["succeed", "succeed", "fail", "expire", "refund"])
        body = {"delivery": chance.choice(["now", "twice", "late", "reversed"])}
        answer = await http.post(f"/test/gateway/sessions/{page}/{action}", json=body)
        assert answer.status_code in {200, 400}, answer.text
    elif what == "put" and known:
        to = chance.choice(list(PaymentStatus))
        answer = await http.put(f"/payments/{chance.choice(known)['id']}", json={"payment_status": to.value})
        assert answer.status_code in {200, 400}, answer.text
    elif what == "process" and known:
        await http.post(f"/payments/{chance.choice(known)['id']}/process")
    elif what == "duty":
        await till.reconcile()
    elif what == "mark":
        status = chance.choice(["PENDING", "FAILED"])
        answer = await http.put(f"/invoices/{invoice['id']}/payment", json={"payment_status": status})
        assert answer.status_code in {200, 400}, answer.text


@pytest.mark.parametrize("seed", range(8))
async def test_random_lives_of_an_invoice(till: Till, seed: int) -> None:
    chance = random.Random(seed)
    await till.connect()
    invoice = await till.invoice()
    links: list[dict[str, Any]] = []
    for number in range(STEPS):
        await step(till, chance, invoice, links)
        now = await till.desk.get(invoice)
        payments = (await till.account.get("/payments", destination_id=invoice["id"], limit=1000))["items"]
        settling = [row for row in payments if PaymentStatus(row["payment_status"]) in SETTLING]
        paid, due = Decimal(now["amount_paid"]), Decimal(now["amount_due"])
        where = f"seed {seed}, step {number}"
        assert paid == sum((Decimal(row["amount"]) for row in settling), Decimal(0)), where
        assert paid == await till.settled(invoice), where
        assert Decimal(now["amount_remaining"]) == max(due - paid, Decimal(0)), where
        assert (now["payment_status"] == "OVERPAID") == (paid > due), where
        assert (now["payment_status"] in {"SUCCEEDED", "OVERPAID"}) == (paid >= due), where
        assert ("paid_at" in now and now["paid_at"] is not None) == (paid >= due), where
        for row in payments:
            told = await till.events(row["id"])
            numbers = [attempt["attempt_number"] for attempt in row.get("attempts", [])]
            assert numbers == list(range(1, len(numbers) + 1)), where
            assert told[0] == "payment.created", where
