"""Corrections of invoices over HTTP: what usage that was changed since is taken back, charged, and never twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal

import pytest

from tests.billing.corrections.correcting import (
    billed,
    correct,
    correct_what_is_left,
    faults,
    january,
    notes,
    pay,
    pay_what_is_owed,
    preview,
    sell,
    try_to_correct,
    void,
)
from tests.billing.late_usage.lateness import SLAB, VOLUME, charging, late, send, settled
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def test_events_are_voided_and_an_unpaid_invoice_is_lowered(office: Office) -> None:
    subscription, customer = await sell(office, count=10)
    invoice = await january(office, subscription)
    await void(office, "e0", "e1")
    await send(office, customer, "late", "2026-01-20")
    seen = await preview(office, invoice)
    assert (seen["difference"], seen["net_credit"], seen["total_credit"]) == ("-1", "1", "1")
    (line,) = seen["lines"]
    assert (line["usage_before"], line["usage_after"], line["amount_before"], line["amount_after"]) == (
        "10",
        "9",
        "10",
        "9",
    )
    made = await correct(office, invoice)
    assert (made["total_amount"], len(made["credit_note_ids"])) == ("1", 1)
    assert await notes(office, invoice) == [("ADJUSTMENT", "1")]
    assert await correct(office, invoice) == made
    assert (await preview(office, invoice))["difference"] == "0"
    listed = await office.account.get(f"/invoices/{invoice.id}/corrections")
    assert listed["items"] == [made]
    assert await faults(office, [invoice]) == []


async def test_what_was_paid_is_refunded_and_the_rest_lowers_what_is_owed(office: Office) -> None:
    subscription, _ = await sell(office, count=10)
    invoice = await january(office, subscription)
    await pay(office, invoice, "8")
    await void(office, "e0", "e1", "e2", "e3", "e4")
    await correct(office, invoice)
    assert await notes(office, invoice) == [("ADJUSTMENT", "2"), ("REFUND", "3")]
    wallets = await office.account.get(f"/customers/{subscription.customer_id}/wallets")
    assert [wallet["balance"] for wallet in wallets] == ["3"]
    assert await faults(office, [invoice]) == []


async def test_the_next_invoice_takes_what_is_set_aside(office: Office) -> None:
    subscription, customer = await sell(office, count=10)
    invoice = await january(office, subscription)
    await pay(office, invoice, "10")
    await void(office, "e0", "e1", "e2")
    await correct(office, invoice, "next_invoice")
    await office.used("calls", customer, 5, "2026-02-10")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert (february.total, february.amount_paid) == (5, 3)
    assert await faults(office, [invoice, february]) == []


async def test_discounts_and_taxes_share_in_what_is_taken_back(office: Office) -> None:
    rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "19"}
    tax = await office.account.post("/taxes/rates", rate)
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    coupon = await office.account.post(
        "/coupons", {"name": "20", "type": "percentage", "percentage_off": "20", "cadence": "forever"}
    )
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        subscription_coupons=[{"coupon_code": coupon["coupon_code"]}] if coupon.get("coupon_code") else None,
        coupons=None if coupon.get("coupon_code") else [coupon["id"]],
        tax_rate_overrides=[{"tax_rate_code": tax["code"], "currency": "usd", "priority": 1, "auto_apply": True}],
    )
    for number in range(100):
        await send(office, customer, f"t{number}", "2026-01-15")
    await office.run("2026-02-01")
    invoice = await january(office, subscription)
    assert invoice.total == Decimal("95.20")
    await void(office, *(f"t{number}" for number in range(15)))
    seen = await preview(office, invoice)
    assert (seen["difference"], seen["net_credit"], seen["tax_credit"]) == ("-15", "12", "2.28")
    await correct(office, invoice)
    await void(office, *(f"t{number}" for number in range(15, 100)))
    made = await correct(office, invoice)
    assert (made["net_amount"], made["tax_amount"]) == ("68", "12.92")
    assert (await office.account.get(f"/invoices/{invoice.id}"))["amount_due"] == "0"
    assert await faults(office, [invoice]) == []


async def test_more_is_charged_by_the_next_invoice_whatever_the_policy(office: Office) -> None:
    subscription, customer = await sell(office, count=3)
    invoice = await january(office, subscription)
    await office.used("calls", customer, 4, "2026-01-20")
    await correct(office, invoice, expect=400)
    made = await correct(office, invoice, "next_invoice")
    assert [(line["direction"], line["amount"]) for line in made["lines"]] == [("charge", "4")]
    assert await correct(office, invoice, "next_invoice") == made
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == [("01-01", "4", "4")]
    await office.used("calls", customer, 2, "2026-01-21")
    await office.run("2026-04-01")
    charged = [await late(office, row) for row in await office.invoices(subscription)]
    assert [lines for lines in charged if lines] == [[("01-01", "4", "4")]]
    assert (await preview(office, invoice))["difference"] == "2"


async def test_late_usage_and_corrections_share_one_account(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("50"), office.usage(calls, "1")))
    for number in range(10):
        await send(office, customer, f"e{number}", "2026-01-15")
    await office.run("2026-02-01")
    invoice = next(row for row in await office.invoices(subscription) if row.net_usage)
    await void(office, "e0", "e1")
    await correct(office, invoice)
    await office.used("calls", customer, 3, "2026-01-20")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == [("01-01", "3", "3")]
    await correct(office, invoice, expect=400)
    await void(office, *(f"e{number}" for number in range(2, 10)))
    made = await correct(office, invoice)
    assert made["total_amount"] == "8"
    assert (await preview(office, invoice))["difference"] == "0"


async def test_a_line_is_taken_back_before_its_late_lines(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(office.usage(calls, "1")))
    await send(office, customer, "a", "2026-01-15")
    await office.run("2026-02-01")
    invoice = await january(office, subscription)
    for number in range(4):
        await send(office, customer, f"late{number}", "2026-01-20")
    await office.run("2026-03-01")
    await void(office, "a", *(f"late{number}" for number in range(4)))
    made = await correct(office, invoice)
    february = (await office.invoices(subscription))[-1]
    assert [(line["invoice_id"], line["amount"]) for line in made["lines"]] == [(invoice.id, "-1"), (february.id, "-4")]
    assert await notes(office, february) == [("ADJUSTMENT", "4")]
    assert (await preview(office, invoice))["difference"] == "0"


async def test_at_once_an_invoice_is_corrected_once(office: Office) -> None:
    subscription, _ = await sell(office, count=10)
    invoice = await january(office, subscription)
    await void(office, "e0", "e1")
    path = f"/invoices/{invoice.id}/corrections"
    body = {"resolution": "credit_note"}
    answers = await asyncio.gather(*(office.account.http.post(path, json=body) for _ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 8}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await notes(office, invoice) == [("ADJUSTMENT", "2")]


async def test_voided_while_its_period_is_billed_an_event_is_charged_or_not_and_never_lost(office: Office) -> None:
    """Whichever comes first: the invoice, with the correction that it allows, comes to the events that are left."""
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for number in range(12):
        await send(office, customer, f"e{number}", "2026-01-15")
    await asyncio.gather(office.run("2026-02-01"), *(void(office, f"e{number}") for number in range(6)))
    invoice = await january(office, subscription)
    to_correct = Decimal((await preview(office, invoice))["difference"])
    assert invoice.total + to_correct == 6
    if to_correct:
        await correct(office, invoice)
    assert Decimal((await preview(office, invoice))["difference"]) == 0
    assert await faults(office, [invoice]) == []


async def test_what_a_correction_paid_out_forbids_to_void(office: Office) -> None:
    subscription, _ = await sell(office, count=10)
    invoice = await january(office, subscription)
    await void(office, "e0")
    made = await correct(office, invoice)
    await office.account.post(f"/creditnotes/{made['credit_note_ids'][0]}/void", None, 400)
    await pay(office, invoice, "9")
    await void(office, "e1")
    await correct(office, invoice)
    await office.account.post(f"/invoices/{invoice.id}/void", {}, 400)


@pytest.mark.parametrize("resolution", ["credit_note", "next_invoice"])
async def test_nothing_to_correct_is_refused(office: Office, resolution: str) -> None:
    subscription, _ = await sell(office, count=2)
    invoice = await january(office, subscription)
    await correct(office, invoice, resolution, expect=400)
    await correct(office, invoice, "gift", expect=400)


async def test_an_invoice_of_no_period_is_refused(office: Office) -> None:
    customer = await office.customer()
    line = {"display_name": "x", "amount": "5", "quantity": "1"}
    body = {"customer_id": customer["id"], "currency": "usd", "invoice_type": "ONE_OFF", "amount_due": "5"}
    made = await office.account.post("/invoices", {**body, "subtotal": "5", "total": "5", "line_items": [line]})
    await office.account.post(f"/invoices/{made['id']}/corrections/preview", None, 400)
    await office.account.post("/invoices/inv_x/corrections/preview", None, 404)


def slab(count: int) -> Decimal:
    return min(count, 10) + max(count - 10, 0) * Decimal("0.1")


def volume(count: int) -> Decimal:
    return count * (Decimal(1) if count <= 10 else Decimal("0.1"))


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_billed_in_the_end_is_what_the_events_cost(office: Office, seed: int) -> None:
    """Any story of voids, late events, payments and corrections comes to a fresh rating of the events."""
    chance = random.Random(seed)
    price, cost = chance.choice([(SLAB, slab), (VOLUME, volume), ({}, lambda count: Decimal(count) * 3)])
    subscription, customer = await sell(office, "3", chance.randint(4, 16), **price)
    invoice = await january(office, subscription)
    live = [f"e{number}" for number in range(int(sum(row.raw_usage or 0 for row in await office.rows(invoice))))]
    month, sent = 3, 0
    for _ in range(5):
        step = chance.choice(["void", "send", "credit_note", "next_invoice", "month", "pay"])
        if step == "void" and live:
            gone = chance.sample(live, chance.randint(1, len(live)))
            await void(office, *gone)
            live = [event_id for event_id in live if event_id not in gone]
        elif step == "send":
            sent += 1
            await send(office, customer, f"s{sent}", "2026-01-22")
            live.append(f"s{sent}")
        elif step == "month":
            await office.run(f"2026-{month:02}-01")
            month += 1
        elif step == "pay":
            await pay_what_is_owed(office, invoice)
        elif step in {"credit_note", "next_invoice"}:
            await try_to_correct(office, invoice, step)
    await correct_what_is_left(office, invoice, month)
    assert await billed(office, subscription) == cost(len(live))
    assert (await preview(office, invoice))["difference"] == "0"
    assert await faults(office, await office.invoices(subscription)) == []


@pytest.mark.parametrize(
    ("true_up", "voided", "now"),
    [
        pytest.param(True, 1, "7", id="six of five: two of overage become one"),
        pytest.param(True, 3, "5", id="four of five: what was promised is owed"),
        pytest.param(False, 3, "4", id="four of five and no true-up: what was used"),
    ],
)
async def test_a_line_under_a_commitment_of_its_own_is_corrected(
    office: Office, true_up: bool, voided: int, now: str
) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await settled(office)
    customer = await office.customer()
    terms = {"commitment_amount": "5", "commitment_type": "amount", "overage_factor": "2", "enable_true_up": true_up}
    subscription = await office.subscribed(plan, customer, line_item_commitments={plan["prices"][0]["id"]: terms})
    for number in range(7):
        await send(office, customer, f"e{number}", "2026-01-15")
    await office.run("2026-02-01")
    invoice = await january(office, subscription)
    assert invoice.total == 9  # 5, and two more at twice the price
    await void(office, *(f"e{number}" for number in range(voided)))
    seen = await preview(office, invoice)
    assert (seen["lines"][0]["amount_before"], seen["lines"][0]["amount_after"]) == ("9", now)
    made = await correct(office, invoice)
    assert Decimal(made["total_amount"]) == 9 - Decimal(now)
    assert await correct(office, invoice) == made
    assert (await preview(office, invoice))["difference"] == "0"
    assert await faults(office, [invoice]) == []


@pytest.mark.parametrize(
    ("voided", "taken_back"),
    [pytest.param(4, "4", id="six are left, less the whole discount"), pytest.param(10, "9", id="nothing is left")],
)
async def test_a_fixed_discount_stays_whole(office: Office, voided: int, taken_back: str) -> None:
    """Ten calls at 1 less a fixed 1 a month, in two steps."""
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await settled(office)
    customer = await office.customer()
    terms = {"type": "fixed", "amount_off": "1", "currency": "usd", "cadence": "forever"}
    await office.account.post("/coupons", {"name": "one", "coupon_code": "one", **terms})
    subscription = await office.subscribed(plan, customer, subscription_coupons=[{"coupon_code": "one"}])
    for number in range(10):
        await send(office, customer, f"e{number}", "2026-01-15")
    await office.run("2026-02-01")
    invoice = await january(office, subscription)
    assert invoice.total == 9
    for gone in (range(2), range(2, voided)):
        await void(office, *(f"e{number}" for number in gone))
        await correct(office, invoice)
    assert sum(Decimal(amount) for _, amount in await notes(office, invoice)) == Decimal(taken_back)
    assert await faults(office, [invoice]) == []
