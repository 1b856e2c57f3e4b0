"""Invoices whose remainder nobody expects any more, and money that comes all the same."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from tests.account import Account
from tests.payments.till import SLOW, Till


@pytest.fixture
def till(account: Account) -> Till:
    return Till(account)


async def write_off(till: Till, invoice: dict[str, Any], expect: int = 200, **body: Any) -> dict[str, Any]:
    given = {"reason": "The company is gone", **body}
    answer: dict[str, Any] = await till.account.post(f"/invoices/{invoice['id']}/write-off", given, expect)
    return answer


async def undo(till: Till, invoice: dict[str, Any], expect: int = 200) -> dict[str, Any]:
    answer: dict[str, Any] = await till.account.post(f"/invoices/{invoice['id']}/write-off/undo", {}, expect)
    return answer


async def unpaid(till: Till, invoice: dict[str, Any]) -> str:
    answer = await till.account.get(f"/customers/{invoice['customer_id']}/invoices/summary")
    return str(answer["summaries"][0]["total_unpaid_amount"]) if answer["summaries"] else "0"


async def proof(till: Till, invoice: dict[str, Any]) -> list[Any]:
    async with till.account.transaction(read_only=True) as session:
        return list(await all_differences(session, [await session.get_one(Invoice, invoice["id"])]))


async def test_a_debt_that_is_written_off_is_owed_no_more(till: Till) -> None:
    invoice = await till.invoice("100", due_date="2020-01-01T00:00:00Z")
    await till.pay(invoice, "30")
    written = await write_off(till, invoice)
    assert written["written_off_amount"] == "70"
    assert written["written_off_at"]
    assert written["write_off_reason"] == "The company is gone"
    # every figure of the invoice stays as it was
    assert (written["amount_remaining"], written["amount_paid"], written["payment_status"]) == ("70", "30", "PENDING")
    assert await unpaid(till, invoice) == "0"
    aging = await till.account.get(f"/customers/{invoice['customer_id']}/invoices/aging")
    assert aging["items"] == []
    assert await proof(till, invoice) == []
    assert (await till.events(invoice["id"]))[-1] == "invoice.update"


@pytest.mark.parametrize(
    ("amount", "paid_before", "paid_after", "left"),
    [
        pytest.param("100", None, "25", "75", id="a part comes after all"),
        pytest.param("100", "40", "60", "0", id="all of it comes after all"),
        pytest.param("100", "40", "80", "0", id="more than all of it comes"),
        pytest.param("0.03", None, "0.01", "0.02", id="cents"),
        pytest.param("1000000000", "1", "999999998", "1", id="a large debt"),
        pytest.param("99.99", "0.01", "99.97", "0.01", id="a cent stays lost"),
    ],
)
async def test_what_is_paid_after_a_write_off_lowers_what_was_lost(
    till: Till, amount: str, paid_before: str | None, paid_after: str, left: str
) -> None:
    invoice = await till.invoice(amount)
    if paid_before:
        await till.pay(invoice, paid_before)
    await write_off(till, invoice)
    await till.pay(invoice, paid_after)
    now = await till.desk.get(invoice)
    assert (now["written_off_amount"], now["amount_remaining"]) == (left, left)
    assert await unpaid(till, invoice) == "0"
    assert await proof(till, invoice) == []


async def test_taking_it_back_makes_the_debt_owed_again(till: Till) -> None:
    invoice = await till.invoice("100")
    await write_off(till, invoice)
    await till.pay(invoice, "10")
    again = await undo(till, invoice)
    assert again.get("written_off_at") is None
    assert again.get("written_off_amount") is None
    assert await unpaid(till, invoice) == "90"
    assert await proof(till, invoice) == []
    await undo(till, invoice, expect=400)
    # and it may be written off once more
    assert (await write_off(till, invoice))["written_off_amount"] == "90"


async def test_only_what_is_final_and_owed_is_written_off(till: Till) -> None:
    draft = await till.invoice("100", invoice_status="DRAFT")
    paid = await till.invoice("100")
    await till.pay(paid, "100")
    void = await till.invoice("100")
    await till.account.post(f"/invoices/{void['id']}/void", {}, expect=200)
    written = await till.invoice("100")
    await write_off(till, written)
    for invoice in (draft, paid, void, written):
        await write_off(till, invoice, expect=400)
    await till.account.post("/invoices/inv_nobody/write-off", {"reason": "gone"}, expect=404)


@pytest.mark.parametrize("reason", [None, "", "   ", "x" * 501, 7])
async def test_a_write_off_has_a_reason(till: Till, reason: Any) -> None:
    invoice = await till.invoice("100")
    answer = await write_off(till, invoice, expect=400, reason=reason)
    assert "reason" in str(answer)


async def test_nothing_is_written_off_while_a_payment_is_in_flight(till: Till) -> None:
    await till.connect()
    invoice = await till.invoice("100")
    payment = await till.charge(invoice, "100", SLOW)
    answer = await write_off(till, invoice, expect=400)
    assert payment["id"] in str(answer)


async def test_a_void_ends_the_write_off(till: Till) -> None:
    invoice = await till.invoice("100")
    await write_off(till, invoice)
    await till.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    assert (await till.desk.get(invoice)).get("written_off_amount") is None
    assert await proof(till, invoice) == []


async def test_a_credit_note_lowers_what_was_lost(till: Till) -> None:
    invoice = await till.invoice("100")
    await write_off(till, invoice)
    line = (await till.desk.get(invoice))["line_items"][0]
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "process_credit_note": True}
    note["line_items"] = [{"invoice_line_item_id": line["id"], "amount": "40"}]
    await till.account.post("/creditnotes", note)
    now = await till.desk.get(invoice)
    assert (now["written_off_amount"], now["amount_remaining"]) == ("60", "60")
    assert await proof(till, invoice) == []
