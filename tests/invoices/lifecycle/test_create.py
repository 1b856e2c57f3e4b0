"""Creating one-off and credit invoices.

Rule: docs/rules/invoices-and-payments.md#creation
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select

from farthing.invoices.tables import Invoice
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage


async def told(account: Account, invoice: dict[str, Any]) -> list[str]:
    async with account.transaction() as session:
        rows = await session.scalars(
            select(SystemEvent.event_name).where(SystemEvent.entity_id == invoice["id"]).order_by(SystemEvent.id)
        )
        return sorted(rows)


async def test_an_invoice_is_finalized_at_once(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([usage("60"), fixed("40")], currency="USD", metadata={"po": "7"}, description="March")
    expected = {
        "invoice_type": "ONE_OFF",
        "invoice_status": "FINALIZED",
        "payment_status": "PENDING",
        "currency": "usd",
        "subtotal": "100",
        "total": "100",
        "amount_due": "100",
        "amount_remaining": "100",
        "amount_paid": "0",
        "refunded_amount": "0",
        "adjustment_amount": "0",
        "total_prepaid_credits_applied": "0",
        "billing_reason": "MANUAL",
        "idempotency_key": None,
        "billing_sequence": None,
        "version": 3,
        "is_manually_edited": False,
        "description": "March",
        "metadata": {"po": "7"},
    }
    assert {name: made[name] for name in expected} == expected
    assert made["issue_date"] == made["created_at"]
    assert made["finalized_at"]
    assert made["last_computed_at"]
    assert made["invoice_number"]
    assert [line["display_name"] for line in made["line_items"]] == ["usage 60", "fixed 40"]
    assert made["customer"]["id"] == made["customer_id"]
    assert not {"overpaid_amount", "paid_at", "voided_at", "due_date", "subscription_id"} & made.keys()
    assert await told(account, made) == ["invoice.update", "invoice.update.finalized"]


async def test_a_draft_stays_one_when_asked_for(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("100.00")], invoice_status="DRAFT")
    assert (made["invoice_status"], made["total"], made["invoice_number"]) == ("DRAFT", "100", None)
    assert await told(account, made) == ["invoice.create.drafted", "invoice.update"]


async def test_without_lines_one_is_booked_for_the_subtotal(account: Account) -> None:
    made = await Desk(account).invoice(subtotal="12.50", total="0", amount_due="0")
    (line,) = made["line_items"]
    assert (line["display_name"], line["amount"], line["quantity"]) == ("Invoice amount", "12.5", "1")
    assert made["total"] == "12.5"


async def test_the_callers_total_and_due_are_worked_out_anew(account: Account) -> None:
    made = await Desk(account).invoice([fixed("10")], total="1", amount_due="2", total_prepaid_applied="3")
    assert (made["total"], made["amount_due"], made["total_prepaid_credits_applied"]) == ("10", "10", "0")


async def test_nothing_to_pay_is_paid(account: Account) -> None:
    made = await Desk(account).invoice([fixed("0")], payment_status="PENDING")
    assert (made["payment_status"], made["amount_paid"]) == ("SUCCEEDED", "0")
    assert made["invoice_number"]
    assert made["paid_at"] == made["finalized_at"]


@pytest.mark.parametrize(
    ("paid", "expected"),
    [
        pytest.param("40", ("40", "60", "PENDING"), id="a part"),
        pytest.param("100", ("100", "0", "SUCCEEDED"), id="all of it"),
        pytest.param("0", ("0", "100", "PENDING"), id="nothing"),
    ],
)
async def test_what_was_paid_already_is_settled(account: Account, paid: str, expected: tuple[str, str, str]) -> None:
    made = await Desk(account).invoice([fixed("100")], amount_paid=paid, payment_status="SUCCEEDED")
    assert (made["amount_paid"], made["amount_remaining"], made["payment_status"]) == expected


async def test_a_credit_invoice_takes_no_notice_of_negative_totals(account: Account) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed("5")], invoice_type="CREDIT", subtotal="-5", total="-5", amount_due="-5")
    assert (made["invoice_type"], made["total"]) == ("CREDIT", "5")


REFUSED = [
    pytest.param({"customer_id": "cust_nobody"}, 404, "customer_id", id="an unknown customer"),
    pytest.param({"coupons": ["coupon_nobody"]}, 404, "coupon_id", id="an unknown coupon"),
    pytest.param({"tax_rates": ["taxrate_nobody"]}, 404, "tax_rate_id", id="an unknown tax rate"),
    pytest.param(
        {"tax_rate_overrides": [{"tax_rate_code": "nobody", "currency": "usd"}]},
        404,
        "tax_rate_code",
        id="an unknown tax code",
    ),
    pytest.param({"subscription_id": "subs_nobody"}, 404, "subscription_id", id="an unknown subscription"),
    pytest.param({"subtotal": "99"}, 400, "subtotal", id="lines that do not come to the subtotal"),
    pytest.param({"amount_due": "-1"}, 400, "amount_due", id="a negative amount"),
    pytest.param({"line_items": [fixed("-5")]}, 400, "line_items[0].amount", id="a negative line"),
    pytest.param(
        {"line_items": [fixed("-5")], "invoice_type": "CREDIT"},
        400,
        "line_items[0].amount",
        id="a negative line of a credit invoice",
    ),
    pytest.param({"line_items": [fixed("100", "-1")]}, 400, "line_items[0].quantity", id="a negative quantity"),
    pytest.param(
        {"line_items": [fixed("100", period_start="2025-02-01T00:00:00Z", period_end="2025-01-01T00:00:00Z")]},
        400,
        "line_items[0].period_end",
        id="a line whose period runs backwards",
    ),
    pytest.param(
        {"period_start": "2025-02-01T00:00:00Z", "period_end": "2025-01-01T00:00:00Z"},
        400,
        "period_end",
        id="a period that runs backwards",
    ),
    pytest.param({"currency": "us"}, 400, "currency", id="a currency of two letters"),
    pytest.param({"currency": "u$d"}, 400, "currency", id="a currency that is none"),
    pytest.param({"invoice_status": "VOIDED"}, 400, "invoice_status", id="a status one cannot begin in"),
    pytest.param({"invoice_status": "PAID"}, 400, "invoice_status", id="a status that is none"),
    pytest.param({"amount_paid": "100.01"}, 400, "amount_paid", id="more paid than the total"),
    pytest.param({"amount_paid": "-1"}, 400, "amount_paid", id="less than nothing paid"),
    pytest.param({"idempotency_key": "k" * 101}, 400, "idempotency_key", id="a key of 101 characters"),
    pytest.param({"invoice_pdf_url": "javascript:alert(1)"}, 400, "invoice_pdf_url", id="an address that runs"),
    pytest.param({"invoice_pdf_url": "http://[::1"}, 400, "invoice_pdf_url", id="an address that cannot be read"),
    pytest.param({"metadata": {"auto_completed": "true"}}, 400, "metadata.auto_completed", id="a forged completion"),
    pytest.param(
        {"metadata": {"wallet_transaction_id": "x"}}, 400, "metadata.wallet_transaction_id", id="forged credits"
    ),
    pytest.param({"metadata": {"n": 1}}, 400, "metadata.n", id="metadata that is not text"),
    pytest.param({"invoice_type": "SUBSCRIPTION"}, 400, "subscription_id", id="a subscription's without one"),
    pytest.param({"subtotal": "1e16", "line_items": []}, 400, "subtotal", id="an amount too large to store"),
    pytest.param({"subtotal": "NaN"}, 400, "subtotal", id="an amount that is no number"),
    pytest.param({"subtotal": None}, 400, "subtotal", id="no subtotal"),
    pytest.param({"checkout": {}}, 400, "checkout.payment_provider", id="a checkout without a provider"),
    pytest.param(
        {"checkout": {"payment_provider": "stripe"}},
        400,
        "payment_provider",
        id="a checkout nowhere",
    ),
    pytest.param(
        {"checkout": {"payment_provider": "stripe"}, "amount_paid": "1"}, 400, "amount_paid", id="a checkout of a rest"
    ),
]


@pytest.mark.parametrize(("change", "status", "field"), REFUSED)
async def test_refused(account: Account, change: dict[str, Any], status: int, field: str | None) -> None:
    desk = Desk(account)
    body = {**desk.order(await desk.customer(), [fixed("100")]), **change}
    answer = await account.post("/invoices", body, expect=status)
    assert field is None or field in answer["details"], answer
    assert (await account.get("/invoices"))["pagination"]["total"] == 0


async def test_a_number_and_a_text_are_the_same_amount(account: Account) -> None:
    desk = Desk(account)
    body = desk.order(await desk.customer(), [{"amount": 0.1, "quantity": 3}], subtotal=0.1)
    made = await account.post("/invoices", body)
    assert (made["total"], made["line_items"][0]["quantity"]) == ("0.1", "3")


async def test_a_key_answers_with_its_draft_and_refuses_what_was_finalized(account: Account) -> None:
    desk = Desk(account)
    customer, coupon = await desk.customer(), await desk.coupon("10%")
    order = desk.order(customer, [fixed("100")], idempotency_key="k", invoice_status="DRAFT", coupons=[coupon])
    first = await account.post("/invoices", order)
    again = await account.post("/invoices", order)
    assert again == first
    assert (await account.get(f"/coupons/{coupon}"))["total_redemptions"] == 1

    await account.post(f"/invoices/{first['id']}/finalize", expect=200)
    refused = await account.post("/invoices", order, expect=409)
    assert (refused["code"], refused["details"]) == ("already_exists", {"invoice_id": first["id"]})

    await account.post(f"/invoices/{first['id']}/void", expect=200)
    fresh = await account.post("/invoices", order)
    assert fresh["id"] != first["id"]


async def test_one_key_sent_32_times_at_once_makes_one_invoice(account: Account) -> None:
    desk = Desk(account)
    order = desk.order(await desk.customer(), [fixed("100")], idempotency_key="k")
    answers = await asyncio.gather(*(account.http.post("/invoices", json=order) for _ in range(32)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 31
    (made,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    assert {answer.json()["details"]["invoice_id"] for answer in answers if answer.status_code == 409} == {made}
    assert (await account.get("/invoices"))["pagination"]["total"] == 1


async def test_one_key_sent_32_times_at_once_makes_one_draft(account: Account) -> None:
    desk = Desk(account)
    order = desk.order(await desk.customer(), [fixed("100")], idempotency_key="k", invoice_status="DRAFT")
    answers = await asyncio.gather(*(account.post("/invoices", order) for _ in range(32)))
    assert len({answer["id"] for answer in answers}) == 1
    async with account.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Invoice)) == 1


async def test_without_a_key_every_call_makes_an_invoice(account: Account) -> None:
    desk = Desk(account)
    order = desk.order(await desk.customer(), [fixed("100")], idempotency_key="")
    assert (await account.post("/invoices", order))["id"] != (await account.post("/invoices", order))["id"]


async def test_a_key_belongs_to_its_environment(account: Account, stranger: Account) -> None:
    ids = set()
    for owner in (account, stranger):
        desk = Desk(owner)
        ids.add((await desk.invoice([fixed("1")], idempotency_key="k", invoice_number="N-1"))["id"])
    assert len(ids) == 2
