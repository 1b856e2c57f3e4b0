"""Wallets that pay invoices: how much, in one transaction, and never twice."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import fixed, usage


def order(invoice: dict[str, Any], amount: str, **more: Any) -> dict[str, Any]:
    return {
        "destination_type": "INVOICE",
        "destination_id": invoice["id"],
        "payment_method_type": "CREDITS",
        "amount": amount,
        "currency": "usd",
        "process_payment": True,
        **more,
    }


async def paying_wallet(desk: LedgerDesk, customer: str, loaded: str, *kinds: str, **more: Any) -> dict[str, Any]:
    config = {"config": {"allowed_price_types": list(kinds)}} if kinds else {}
    return await desk.wallet(customer, loaded, wallet_type="POST_PAID", **config, **more)


async def attempt(account: Account, invoice: dict[str, Any], expect: int = 200) -> None:
    answer = await account.http.post(f"/invoices/{invoice['id']}/payment/attempt")
    assert answer.status_code == expect


@pytest.mark.parametrize(
    ("kinds", "loaded", "paid_before", "pays"),
    [
        pytest.param(["USAGE"], "50", "0", "50", id="usage only, with less than that"),
        pytest.param(["USAGE"], "200", "0", "60", id="usage only, with more"),
        pytest.param(["FIXED"], "200", "0", "40", id="fixed only"),
        pytest.param(["ALL"], "200", "0", "100", id="all-purpose"),
        pytest.param(["USAGE", "FIXED"], "200", "0", "100", id="both"),
        pytest.param(["USAGE"], "200", "30", "30", id="usage only, after a part was paid otherwise"),
        pytest.param(["FIXED"], "200", "70", "30", id="fixed only, after all usage was paid"),
        pytest.param(["USAGE"], "10.009", "0", "10", id="whole cents"),
        pytest.param([], "200", "99", "1", id="what remains"),
    ],
)
async def test_a_wallet_pays_its_share(
    account: Account, kinds: list[str], loaded: str, paid_before: str, pays: str
) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await paying_wallet(desk, customer, loaded, *kinds)
    invoice = await desk.billed(customer, [usage("60"), fixed("40")])
    if paid_before != "0":
        await account.post("/payments", order(invoice, paid_before, payment_method_type="OFFLINE"))
    await attempt(account, invoice)
    seen = await desk.get(invoice)
    assert Decimal(seen["amount_paid"]) == Decimal(paid_before) + Decimal(pays)
    assert Decimal(await desk.balance(wallet)) == Decimal(loaded) - Decimal(pays)
    listed = await account.get("/payments", destination_id=invoice["id"], payment_method_type="CREDITS")
    (payment,) = listed["items"]
    debit = (await desk.rows(wallet))[-1]
    assert (debit["transaction_reason"], debit["reference_type"], debit["reference_id"], debit["amount"]) == (
        "INVOICE_PAYMENT",
        "PAYMENT",
        payment["id"],
        payment["amount"],
    )
    assert (payment["payment_status"], payment["payment_method_id"]) == ("SUCCEEDED", wallet["id"])
    await desk.require_sound()


async def test_a_payment_by_credits_is_checked_and_returned(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    invoice = await desk.billed(customer, [fixed("50")])
    await account.post("/payments", order(invoice, "10"), 404)
    prepaid = await desk.wallet(customer)
    await account.post("/payments", order(invoice, "10", payment_method_id=prepaid["id"]), 400)
    wallet = await paying_wallet(desk, customer, "20", conversion_rate="2")
    refused = await account.post("/payments", order(invoice, "40.01"), 400)
    assert refused["code"] == "invalid_operation"
    await account.post("/payments", order(invoice, "50.01"), 400)
    assert (await account.get("/payments", destination_id=invoice["id"]))["items"] == []
    other = await desk.wallet(await desk.customer(), "5", wallet_type="POST_PAID")
    await account.post("/payments", order(invoice, "1", payment_method_id=other["id"]), 400)
    paid = await account.post("/payments", order(invoice, "30", idempotency_key="k"))
    again = await account.post("/payments", order(invoice, "30", idempotency_key="k"))
    assert (paid["id"], paid["payment_status"]) == (again["id"], "SUCCEEDED")
    assert await desk.balance(wallet) == "5"
    assert (await account.http.put(f"/payments/{paid['id']}", json={"payment_status": "VOIDED"})).status_code == 400
    await desk.require_sound()
    await account.post(f"/invoices/{invoice['id']}/void", expect=200)
    assert (await desk.balance(wallet), await desk.balance(prepaid)) == ("20", "0")
    assert (await account.get(f"/payments/{paid['id']}"))["payment_status"] == "REFUNDED"
    await desk.require_sound()


async def test_a_payment_waits_until_it_is_processed(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await paying_wallet(desk, customer, "20")
    invoice = await desk.billed(customer, [fixed("50")])
    waits = [await account.post("/payments", order(invoice, amount, process_payment=False)) for amount in ("15", "16")]
    assert [payment["payment_status"] for payment in waits] == ["PENDING", "PENDING"]
    done = await account.post(f"/payments/{waits[0]['id']}/process", expect=200)
    assert (done["payment_status"], await desk.balance(wallet)) == ("SUCCEEDED", "5")
    await account.post(f"/payments/{waits[1]['id']}/process", expect=400)
    assert (await account.get(f"/payments/{waits[1]['id']}"))["payment_status"] == "FAILED"
    await desk.require_sound()


async def test_a_draft_is_final_before_credits_pay_it(account: Account) -> None:
    """The prepaid wallet takes its part of the usage first; then no more than what remains can be paid."""
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await paying_wallet(desk, customer, "100")
    prepaid = await desk.wallet(customer, "30")
    draft = await desk.billed(customer, [usage("50")], invoice_status="DRAFT")
    await account.post("/payments", order(draft, "50"), 400)
    assert (await desk.balance(wallet), await desk.balance(prepaid)) == ("100", "30")
    await account.post("/payments", order(draft, "20", idempotency_key="k"))
    seen = await desk.get(draft)
    assert (seen["total_prepaid_credits_applied"], seen["payment_status"]) == ("30", "SUCCEEDED")
    assert (await desk.balance(wallet), await desk.balance(prepaid)) == ("80", "0")
    await desk.require_sound()


async def test_the_wallet_pays_its_share_without_a_card(account: Account) -> None:
    """A wallet for fixed charges pays 40 of 100; nobody pays the rest, for there is no card."""
    desk = LedgerDesk(account)
    await account.post("/connections", {"name": "stripe", "provider_type": "stripe", "metadata": {"mode": "test"}})
    customer = await desk.customer()
    wallet = await paying_wallet(desk, customer, "200", "FIXED")
    invoice = await desk.billed(customer, [usage("60"), fixed("40")])
    await attempt(account, invoice)
    assert (await desk.get(invoice))["amount_remaining"] == "60"
    assert await desk.balance(wallet) == "160"


async def test_parallel_payments_never_spend_a_credit_twice(account: Account) -> None:
    """Payments of many invoices, attempts and voids at once, of one wallet that cannot pay them all."""
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await paying_wallet(desk, customer, "100")
    invoices = [await desk.billed(customer, [fixed("20")]) for _ in range(8)]

    async def pay(number: int, invoice: dict[str, Any]) -> int:
        body = order(invoice, "20", idempotency_key=f"{number}")
        return (await account.http.post("/payments", json=body)).status_code

    async def send(invoice: dict[str, Any], path: str) -> int:
        return (await account.http.post(f"/invoices/{invoice['id']}/{path}")).status_code

    answers = await asyncio.gather(
        *(pay(number, invoice) for number, invoice in enumerate(invoices)),
        *(send(invoice, "payment/attempt") for invoice in invoices),
        *(send(invoice, "void") for invoice in invoices[:3]),
    )
    assert set(answers) <= {200, 201, 400}
    seen = [await desk.get(invoice) for invoice in invoices]
    kept = sum(Decimal(invoice["amount_paid"]) for invoice in seen if invoice["invoice_status"] == "FINALIZED")
    assert Decimal(await desk.balance(wallet)) == 100 - kept
    await desk.require_sound()
