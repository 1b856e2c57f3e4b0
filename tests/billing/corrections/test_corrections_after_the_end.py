"""Corrections of subscriptions that have ended: no next invoice comes to charge or to credit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.proof.invoices import prove
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.corrections.correcting import billed, correct, faults, january, notes, pay, preview, sell, void
from tests.billing.late_usage.lateness import late, send, settled
from tests.billing.office import Office


async def ended(office: Office, **more: Any) -> tuple[Subscription, Invoice]:
    """A subscription that was cancelled on 21 January, and its last invoice: ten calls at 1."""
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, **more)
    for number in range(10):
        await send(office, customer, f"e{number}", "2026-01-15")
    await office.on("2026-01-21")
    path = f"/subscriptions/{subscription.id}/cancel"
    now = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice"}
    await office.account.post(path, now, 200)
    await office.run("2026-01-22")
    return subscription, (await office.invoices(subscription))[-1]


@pytest.mark.parametrize(
    ("paid", "expected", "balance"),
    [
        pytest.param("0", [("ADJUSTMENT", "3")], "0", id="unpaid: three of ten less is owed"),
        pytest.param("10", [("REFUND", "3")], "3", id="paid: three of ten go back into the wallet"),
        pytest.param("8", [("ADJUSTMENT", "2"), ("REFUND", "1")], "1", id="paid in part: what is unpaid first"),
    ],
)
@pytest.mark.parametrize("resolution", ["credit_note", "next_invoice"])
async def test_the_last_invoice_of_an_ended_subscription_is_lowered(
    office: Office, resolution: str, paid: str, expected: list[tuple[str, str]], balance: str
) -> None:
    subscription, invoice = await ended(office)
    assert invoice.total == 10
    if paid != "0":
        await pay(office, invoice, paid)
    await void(office, "e0", "e1", "e2")
    made = await correct(office, invoice, resolution)
    assert (made["total_amount"], await notes(office, invoice)) == ("3", expected)
    wallets = await office.account.get(f"/customers/{subscription.customer_id}/wallets")
    money = await office.account.get(f"/customers/{subscription.customer_id}/unapplied-money")
    waiting = [row["amount"] for row in money["balances"]]
    # what has no next invoice to wait for is the customer's, to apply or to have back
    assert ([wallet["balance"] for wallet in wallets] or waiting or ["0"]) == [balance], (wallets, money)
    assert await correct(office, invoice, resolution) == made
    assert await faults(office, [invoice]) == []


async def test_what_an_ended_subscription_used_more_is_invoiced_at_once(office: Office) -> None:
    subscription, invoice = await ended(office)
    customer = await office.account.get(f"/customers/{subscription.customer_id}")
    await send(office, customer, "late", "2026-01-16")
    assert (await preview(office, invoice))["difference"] == "1"
    # an event after the end is nobody's usage
    await send(office, customer, "after", "2026-01-25")
    assert (await preview(office, invoice))["difference"] == "1"
    await correct(office, invoice, expect=400)
    made = await correct(office, invoice, "next_invoice")
    assert [(line["direction"], line["amount"]) for line in made["lines"]] == [("charge", "1")]
    extra = await office.account.get(f"/invoices/{made['charged_invoice_id']}")
    stands = (extra["invoice_type"], extra["invoice_status"], extra["total"], extra["subscription_id"])
    assert stands == ("ONE_OFF", "FINALIZED", "1", subscription.id)
    assert await correct(office, invoice, "next_invoice") == made
    assert (await preview(office, invoice))["difference"] == "0"
    assert (await office.invoices(subscription))[-1].id in {extra["id"], invoice.id}
    assert await proved(office, subscription) == []


async def test_an_ended_subscription_is_charged_and_credited_in_turns_and_never_twice(office: Office) -> None:
    subscription, invoice = await ended(office)
    customer = await office.account.get(f"/customers/{subscription.customer_id}")
    for number in range(3):
        await send(office, customer, f"late{number}", "2026-01-16")
    first = await correct(office, invoice, "next_invoice")
    await void(office, "late0", *(f"e{number}" for number in range(10)))
    # eleven of thirteen go back: the ten of the invoice before the late ones
    taken = await correct(office, invoice)
    assert [line["amount"] for line in taken["lines"]] == ["-10", "-1"]
    assert taken["lines"][1]["invoice_id"] == first["charged_invoice_id"]
    await send(office, customer, "later", "2026-01-17")
    second = await correct(office, invoice, "next_invoice")
    assert second["charged_invoice_id"] != first["charged_invoice_id"]
    assert await billed(office, subscription) == 3
    # the void of what was charged opens it again
    await office.account.post(f"/invoices/{second['charged_invoice_id']}/void", {}, 200)
    assert (await preview(office, invoice))["difference"] == "1"
    third = await correct(office, invoice, "next_invoice")
    assert third["charged_invoice_id"] not in {first["charged_invoice_id"], second["charged_invoice_id"], None}
    assert await billed(office, subscription) == 3
    assert await proved(office, subscription) == []


async def test_what_was_left_to_a_next_invoice_that_did_not_come_is_invoiced_at_once(office: Office) -> None:
    subscription, customer = await sell(office, count=3)
    invoice = await january(office, subscription)
    await office.used("calls", customer, 4, "2026-01-20")
    await correct(office, invoice, "next_invoice")
    body = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "skip"}
    await office.account.post(f"/subscriptions/{subscription.id}/cancel", body, 200)
    made = await correct(office, invoice, "next_invoice")
    assert (await office.account.get(f"/invoices/{made['charged_invoice_id']}"))["total"] == "4"
    assert await correct(office, invoice, "next_invoice") == made
    assert await billed(office, subscription) == 7


@pytest.mark.parametrize("policy", ["report", "next_invoice"])
async def test_the_last_invoice_charges_what_came_late_for_the_period_before(office: Office, policy: str) -> None:
    subscription, customer = await sell(office, count=3)
    await office.settings(late_usage_policy=policy)
    invoice = await january(office, subscription)
    await office.used("calls", customer, 4, "2026-01-20")
    if policy == "report":
        await correct(office, invoice, "next_invoice")
    await office.on("2026-02-10")
    now = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice"}
    await office.account.post(f"/subscriptions/{subscription.id}/cancel", now, 200)
    await office.run("2026-03-01")
    assert [await late(office, row) for row in await office.invoices(subscription)][-1] == [("01-01", "4", "4")]
    assert (await preview(office, invoice))["difference"] == "0"
    assert await proved(office, subscription) == []


async def test_what_is_invoiced_at_once_has_the_coupons_and_taxes_of_the_subscription(office: Office) -> None:
    rate = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "19"}
    tax = await office.account.post("/taxes/rates", rate)
    terms = {"name": "20", "type": "percentage", "percentage_off": "20", "cadence": "forever"}
    coupon = await office.account.post("/coupons", terms)
    subscription, invoice = await ended(
        office,
        coupons=[coupon["id"]],
        tax_rate_overrides=[{"tax_rate_code": tax["code"], "currency": "usd", "priority": 1, "auto_apply": True}],
    )
    assert invoice.total == Decimal("9.52")
    customer = await office.account.get(f"/customers/{subscription.customer_id}")
    for number in range(10):
        await send(office, customer, f"late{number}", "2026-01-16")
    made = await correct(office, invoice, "next_invoice")
    extra = await office.account.get(f"/invoices/{made['charged_invoice_id']}")
    assert (extra["subtotal"], extra["total_discount"], extra["total_tax"], extra["total"]) == (
        "10",
        "2",
        "1.52",
        "9.52",
    )
    assert await proved(office, subscription) == []


async def proved(office: Office, subscription: Subscription) -> list[Any]:
    """What the doctor says of all invoices of a subscription."""
    invoices = await office.invoices(subscription)
    async with office.account.transaction(read_only=True) as session:
        fresh = [await session.get_one(Invoice, invoice.id) for invoice in invoices]
        return [*(await prove(session, fresh)).differences, *await faults(office, invoices)]
