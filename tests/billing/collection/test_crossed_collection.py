"""An invoice that is dunned while its payer pays it otherwise: each unit of money counts once, whoever is first."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from farthing.doctor.examination import audit
from tests.billing.collection.test_dunning import case, due, dunned, invoice_of, payments
from tests.billing.counter import Body, has_card
from tests.billing.office import Office
from tests.payments.till import DECLINED, OK, Till


async def differences(office: Office) -> list[str]:
    findings = await audit(office.account.database, only=[office.account.environment_id])
    return [str(difference) for difference in findings.differences]


async def received(office: Office, subscription: Body) -> Decimal:
    """What all payments of the opening invoice that succeeded come to."""
    found = await office.account.get("/payments", destination_id=subscription["latest_invoice"]["id"], limit=100)
    kept = ("SUCCEEDED", "PARTIALLY_REFUNDED")
    return sum((Decimal(row["amount"]) for row in found["items"] if row["payment_status"] in kept), Decimal(0))


async def test_a_page_is_paid_while_the_invoice_is_tried_again(office: Office) -> None:
    """Another card was saved, and is charged by the duty at the moment at which the payer confirms the page."""
    till, customer = Till(office.account), await office.customer()
    made = await dunned(office, DECLINED, customer)
    page = await till.link(await invoice_of(office, made), "10")
    await has_card(office, customer, OK)
    await asyncio.gather(due(office, "2026-01-02"), till.act(page, "succeed"), due(office, "2026-01-02"))
    await due(office, "2026-01-09")
    invoice = await invoice_of(office, made)
    assert invoice["amount_remaining"] == "0"
    assert Decimal(invoice["amount_paid"]) == await received(office, made)
    assert Decimal(invoice["amount_paid"]) in {10, 20}
    assert (await case(office, made))["dunning_status"] == "recovered"
    assert await differences(office) == []


@pytest.mark.parametrize("page_first", [True, False])
async def test_a_part_a_credit_note_a_page_and_a_retry_come_to_what_is_owed(office: Office, page_first: bool) -> None:
    """Of 10, 4 come by bank and 1 is credited; a page over the other 5 and the retry with a good card follow."""
    till, customer = Till(office.account), await office.customer()
    made = await dunned(office, DECLINED, customer)
    invoice = await invoice_of(office, made)
    await till.pay(invoice, "4")
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "1"}
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [line], "process_credit_note": True}
    await office.account.post("/creditnotes", note)
    page = await till.link(invoice, "5")
    await has_card(office, customer, OK)
    if page_first:
        await till.act(page, "succeed")
    await due(office, "2026-01-02")
    if not page_first:
        await till.act(page, "succeed", expect=200)
    invoice = await invoice_of(office, made)
    assert (invoice["adjustment_amount"], invoice["amount_due"], invoice["amount_remaining"]) == ("1", "9", "0")
    assert invoice["amount_paid"] == ("9" if page_first else "14")
    assert Decimal(invoice["amount_paid"]) == await received(office, made)
    assert await differences(office) == []


async def test_what_was_written_off_is_paid_by_page_and_not_dunned_any_more(office: Office) -> None:
    till, customer = Till(office.account), await office.customer()
    made = await dunned(office, DECLINED, customer)
    invoice = await invoice_of(office, made)
    page = await till.link(invoice, "10")
    await office.account.post(f"/invoices/{invoice['id']}/write-off", {"reason": "gone"}, 200)
    await has_card(office, customer, OK)
    await due(office, "2026-01-09")
    assert "SUCCEEDED" not in await payments(office, made)
    await till.act(page, "succeed")
    invoice = await invoice_of(office, made)
    assert (invoice["payment_status"], invoice["amount_paid"], invoice["written_off_amount"]) == (
        "SUCCEEDED",
        "10",
        "0",
    )
    assert await differences(office) == []
