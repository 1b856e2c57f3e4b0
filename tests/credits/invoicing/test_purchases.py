"""Credits that are sold by invoice: they come when it is paid, whoever pays it, and never when it is voided."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import usage

INVOICED = "PURCHASED_CREDIT_INVOICED"


async def buy(desk: LedgerDesk, wallet: dict[str, Any], credits: str, **more: Any) -> tuple[dict[str, Any], Any]:
    """A purchase and its invoice."""
    answer = await desk.top_up(wallet, credits, transaction_reason=INVOICED, **more)
    return answer, await desk.get({"id": answer["invoice_id"]})


async def pay(account: Account, invoice: dict[str, Any], expect: int = 200) -> None:
    answer = await account.http.put(f"/invoices/{invoice['id']}/payment", json={"payment_status": "SUCCEEDED"})
    assert answer.status_code == expect


async def states(desk: LedgerDesk, wallet: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (row["transaction_reason"], row["credit_amount"], row["transaction_status"]) for row in await desk.rows(wallet)
    ]


async def test_credits_come_when_their_invoice_is_paid(account: Account) -> None:
    desk = LedgerDesk(account)
    wallet = await desk.wallet(await desk.customer(), topup_conversion_rate="0.8")
    answer, invoice = await buy(desk, wallet, "100")
    assert answer["wallet_transaction"]["transaction_status"] == "pending"
    assert answer["wallet"]["balance"] == "0"
    assert (invoice["total"], invoice["payment_status"], invoice["invoice_status"]) == ("80", "PENDING", "FINALIZED")
    assert invoice["due_date"] == invoice["finalized_at"]
    assert [line["display_name"] for line in invoice["line_items"]] == ["Purchase 100 Credits"]
    assert invoice["metadata"]["wallet_transaction_id"] == answer["wallet_transaction"]["id"]
    await desk.require_sound()
    await desk.top_up(wallet, "7")
    half = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
    half |= {"amount": "40", "currency": "usd", "process_payment": True}
    await account.post("/payments", {**half, "idempotency_key": "1"}, 201)
    assert await desk.balance(wallet) == "7"
    refused = await account.post(f"/invoices/{invoice['id']}/void", expect=400)
    assert refused["message"] == "part of these credits is paid for"
    await account.post("/payments", {**half, "idempotency_key": "2"}, 201)
    seen = await account.get(f"/wallets/{wallet['id']}")
    assert (seen["credit_balance"], seen["balance"]) == ("107", "107")
    page = await account.get(f"/wallets/{wallet['id']}/transactions", transaction_status="completed", sort="created_at")
    bought = next(row for row in page["items"] if row["transaction_reason"] == INVOICED)
    assert (bought["credit_balance_before"], bought["credit_balance_after"]) == ("7", "107")
    assert (bought["amount"], bought["credits_available"]) == ("80", "100")
    await account.post(f"/invoices/{invoice['id']}/void", expect=400)
    await desk.require_sound()


@pytest.mark.parametrize(("credits", "bonus"), [("500", "50"), ("499", "5"), ("99", None), ("1000", "150")])
async def test_a_bonus_waits_with_its_purchase(account: Account, credits: str, bonus: str | None) -> None:
    desk = LedgerDesk(account)
    slabs = [("1000", "percentage", "15"), ("500", "percentage", "10"), ("100", "flat", "5")]
    config = {
        "enabled": True,
        "slabs": [{"threshold": t, "operator": "gte", "bonus": {"type": k, "value": v}} for t, k, v in slabs],
    }
    await account.put("/settings/bonus_credits_topup_config", {"value": config})
    wallet = await desk.wallet(await desk.customer())
    _, invoice = await buy(desk, wallet, credits)
    assert invoice["total"] == credits
    expected = [(INVOICED, credits)] + ([("PURCHASED_CREDIT_BONUS", bonus)] if bonus else [])
    assert await states(desk, wallet) == [(*row, "pending") for row in expected]
    await pay(account, invoice)
    assert await states(desk, wallet) == [(*row, "completed") for row in expected]
    chain = [(row["credit_balance_before"], row["credit_balance_after"]) for row in await desk.rows(wallet)]
    total = str(int(credits) + int(bonus or 0))
    assert chain == [("0", credits), (credits, total)][: len(expected)]
    await desk.require_sound()


async def test_a_voided_purchase_fails_and_its_key_stays(account: Account) -> None:
    desk = LedgerDesk(account)
    wallet = await desk.wallet(await desk.customer())
    answer, invoice = await buy(desk, wallet, "10", bonus_credits_to_add="1", idempotency_key="k")
    again, _ = await buy(desk, wallet, "10", bonus_credits_to_add="1", idempotency_key="k")
    assert (again["invoice_id"], again["wallet_transaction"]["id"]) == (
        invoice["id"],
        answer["wallet_transaction"]["id"],
    )
    await account.post(f"/invoices/{invoice['id']}/void", expect=200)
    assert [status for _, _, status in await states(desk, wallet)] == ["failed", "failed"]
    assert await desk.balance(wallet) == "0"
    await desk.require_sound()


async def test_coupons_lower_what_credits_cost(account: Account) -> None:
    desk = LedgerDesk(account)
    wallet = await desk.wallet(await desk.customer())
    for off, total, status in (("20%", "80", "pending"), ("100%", "0", "completed")):
        code = f"C{off.strip('%')}"
        await desk.coupon(off, coupon_code=code)
        answer, invoice = await buy(desk, wallet, "100", coupons=[{"coupon_code": code}])
        assert (invoice["total"], answer["wallet_transaction"]["transaction_status"]) == (total, status)
    assert await desk.balance(wallet) == "100"
    await desk.top_up(wallet, "1", expect=404, transaction_reason=INVOICED, coupons=[{"coupon_code": "none"}])
    await desk.top_up(wallet, "1", expect=400, coupons=[{"coupon_code": "C20"}])
    refused = await desk.top_up(wallet, "0.001", expect=400, transaction_reason=INVOICED)
    assert "credits_to_add" in refused["details"]


async def test_purchases_can_complete_at_once(account: Account) -> None:
    desk = LedgerDesk(account)
    await account.put("/settings/invoice_config", {"value": {"auto_complete_purchased_credit_transaction": True}})
    wallet = await desk.wallet(await desk.customer())
    answer, invoice = await buy(desk, wallet, "100")
    assert answer["wallet"]["credit_balance"] == "100"
    assert (invoice["payment_status"], invoice["amount_paid"]) == ("SUCCEEDED", "100")
    await desk.require_sound()


async def test_a_closed_wallet_is_succeeded(account: Account) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, conversion_rate="2")
    _, invoice = await buy(desk, wallet, "10", bonus_credits_to_add="1")
    await account.post(f"/wallets/{wallet['id']}/terminate", {}, expect=200)
    await pay(account, invoice)
    (opened,) = await account.get(f"/customers/{customer}/wallets")
    assert (opened["id"] != wallet["id"], opened["credit_balance"], opened["balance"]) == (True, "11", "22")
    _, other = await buy(desk, opened, "10")
    await account.post(f"/wallets/{opened['id']}/terminate", {}, expect=200)
    successor = await desk.wallet(customer, conversion_rate="4")
    await pay(account, other)
    assert await desk.balance(successor) == "5"
    await desk.require_sound()


async def test_a_back_dated_credit_has_its_date_and_the_last_place(account: Account) -> None:
    desk = LedgerDesk(account)
    wallet = await desk.wallet(await desk.customer(), "5")
    dated = await desk.top_up(wallet, "1", effective_date="2020-01-01T00:00:00Z")
    assert dated["wallet_transaction"]["created_at"].startswith("2020-01-01T00:00:00")
    assert dated["wallet_transaction"]["credit_balance_after"] == "6"
    refused = await desk.top_up(wallet, "1", expect=400, effective_date="2099-01-01T00:00:00Z")
    assert "effective_date" in refused["details"]


async def test_payment_and_void_of_a_purchase_race(account: Account) -> None:
    """Of both at once, one takes effect: the credits come and the money stays, or neither."""
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer)
    bought = [(await buy(desk, wallet, "10"))[1] for _ in range(6)]

    async def paid(invoice: dict[str, Any]) -> int:
        path = f"/invoices/{invoice['id']}/payment"
        return (await account.http.put(path, json={"payment_status": "SUCCEEDED"})).status_code

    async def voided(invoice: dict[str, Any]) -> int:
        return (await account.http.post(f"/invoices/{invoice['id']}/void")).status_code

    answers = await asyncio.gather(
        *(paid(purchase) for purchase in bought),
        *(voided(purchase) for purchase in bought),
        *(desk.billed(customer, [usage("3")]) for _ in range(4)),
    )
    outcomes = list(zip(answers[:6], answers[6:12], strict=True))
    assert all(set(pair) == {200, 400} for pair in outcomes)
    failed = [status for _, _, status in await states(desk, wallet)].count("failed")
    assert failed == sum(1 for pair in outcomes if pair[1] == 200)
    await desk.require_sound()
