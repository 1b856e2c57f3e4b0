"""What a customer owes, where the currencies come from subscriptions that really live, pause and end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.counter import Body, cancel, do, modify, opened, owed
from tests.billing.office import ARREAR, Office
from tests.invoices.desk import Desk
from tests.invoices.desk import fixed as fee
from tests.subscriptions.shop import fixed

CODES = ("usd", "eur", "gbp", "inr")


async def shop_in_all_currencies(office: Office, **more: Any) -> Body:
    """A plan of 10 a month in any of the currencies, in arrear: nothing is invoiced before the period is over."""
    return await office.plan(*(fixed("10", currency=code, **{**ARREAR, **more}) for code in CODES))


async def one_off(office: Office, customer: Body, amount: str, currency: str, *, paid: bool = False) -> None:
    """A finalized invoice of one fee, by hand."""
    made = await Desk(office.account).invoice([fee(amount)], customer["id"], currency=currency)
    if paid:
        await office.account.put(f"/invoices/{made['id']}/payment", {"payment_status": "SUCCEEDED"})


async def default(office: Office, customer: Body, **params: Any) -> str:
    body = await office.account.get(f"/customers/{customer['id']}/invoices/summary", **params)
    return str(body["default_currency"])


async def test_case_1_the_subscriptions_currency_comes_first_and_others_are_not_lost(office: Office) -> None:
    customer = await office.customer()
    await opened(office, await shop_in_all_currencies(office), customer)
    await one_off(office, customer, "300", "eur")
    await office.run("2026-02-01")
    assert await default(office, customer) == "usd"
    assert await owed(office, customer) == ["usd 10/10/0/1", "eur 300/300/0/1"]


@pytest.mark.parametrize("kind", ["immediate", "end_of_period"])
async def test_case_2_who_has_gone_still_owes(office: Office, kind: str) -> None:
    customer = await office.customer()
    made = await opened(office, await shop_in_all_currencies(office), customer)
    await office.on("2026-01-10")
    await cancel(office, made, kind, cancel_immediately_invoice_policy="generate_invoice")
    await office.run("2026-02-01")
    await office.on("2026-02-05")
    assert await default(office, customer) == "usd"
    # due a day after the end of the period
    assert await owed(office, customer) == ["usd 10/10/10/1"]


async def test_case_16_capitals_are_the_same_currency(office: Office) -> None:
    customer, plan = await office.customer(), await shop_in_all_currencies(office)
    for written in ("USD", "usd"):
        made = await opened(office, plan, customer, currency=written)
        assert made["currency"] == "usd"
    for written, amount in (("Usd", "1"), ("USD", "2")):
        await one_off(office, customer, amount, written)
    assert await owed(office, customer) == ["usd 3/3/0/2"]


async def test_case_17_a_live_currency_has_a_row_before_it_is_invoiced(office: Office) -> None:
    customer = await office.customer()
    await opened(office, await shop_in_all_currencies(office), customer, currency="gbp")
    await one_off(office, customer, "7", "eur", paid=True)
    assert await default(office, customer) == "gbp"
    assert await owed(office, customer) == ["gbp 0/0/0/0", "eur 7/0/0/1"]


async def test_case_18_the_customers_own_currency_then_the_newest_subscriptions(office: Office) -> None:
    plan = await shop_in_all_currencies(office)
    customer = await office.customer()
    await opened(office, plan, customer, currency="eur")
    await office.on("2026-01-02")
    await opened(office, plan, customer, currency="usd")
    assert await default(office, customer) == "usd"
    assert await owed(office, customer) == ["usd 0/0/0/0", "eur 0/0/0/0"]
    await office.account.put(f"/customers/{customer['id']}", {"billing_currency": "inr"})
    assert await default(office, customer) == "inr"
    assert await owed(office, customer) == ["inr 0/0/0/0", "eur 0/0/0/0", "usd 0/0/0/0"]


async def test_case_29_drafts_make_no_row_but_what_lives_does(office: Office) -> None:
    await office.settings(finalization_delay_seconds=7200)
    customer = await office.customer()
    made = await opened(office, await shop_in_all_currencies(office), customer, currency="eur")
    await office.run("2026-02-01")
    assert [invoice.invoice_status.value for invoice in await office.invoices()] == ["DRAFT"]
    assert await owed(office, customer) == ["eur 0/0/0/0"]
    await cancel(office, made)
    assert await owed(office, customer) == []
    assert await default(office, customer) == ""


@pytest.mark.parametrize(
    ("beginning", "then", "rows"),
    [
        pytest.param({}, None, ["usd 0/0/0/0"], id="active"),
        pytest.param({"trial_period_days": 7}, None, ["usd 0/0/0/1"], id="on trial, with its invoice of nothing"),
        pytest.param({"subscription_status": "incomplete"}, None, ["usd 0/0/0/0"], id="incomplete"),
        pytest.param({}, "pause", ["usd 0/0/0/0"], id="paused"),
        pytest.param({}, "cancel", [], id="cancelled, and never invoiced"),
    ],
)
async def test_which_subscriptions_live(office: Office, beginning: Body, then: str | None, rows: list[str]) -> None:
    customer = await office.customer()
    made = await opened(office, await shop_in_all_currencies(office), customer, **beginning)
    if then is not None:
        await do(office, made, then, {"cancellation_type": "immediate"} if then == "cancel" else {})
    assert await owed(office, customer) == rows


async def test_case_14_a_delegated_one_lives_for_payer_and_owner_as_the_scope_says(office: Office) -> None:
    owner, payer = await office.customer("owner"), await office.customer("payer")
    await opened(
        office,
        await shop_in_all_currencies(office),
        owner,
        inheritance={"invoicing_customer_external_id": "payer"},
    )
    rows = {"all": (1, 1), "billed": (1, 0), "incurred": (0, 1)}
    for moment, row in (("2026-01-10", "usd 0/0/0/0"), ("2026-02-01", "usd 10/10/0/1")):
        await office.run(moment)
        for scope, (pays, owns) in rows.items():
            assert await owed(office, payer, scope=scope) == [row] * pays
            assert await owed(office, owner, scope=scope) == [row] * owns
            assert await default(office, payer, scope=scope) == "usd" * pays
            assert await default(office, owner, scope=scope) == "usd" * owns


async def test_a_family_owes_through_its_parent_and_each_member_lives(office: Office) -> None:
    boss, seat, heir = await office.customer("boss"), await office.customer("seat"), await office.customer("heir")
    payer, plan = await office.customer("payer"), await office.plan(fixed("10"))
    parent = await opened(
        office,
        plan,
        boss,
        inheritance={
            "invoicing_customer_external_id": "payer",
            "grouped_invoicing_children_to_create": [{"plan_id": plan["id"], "external_customer_id": "seat"}],
        },
    )
    await modify(office, parent, "inheritance", action="add", external_customer_ids_to_inherit_subscription=["heir"])
    assert await owed(office, payer, scope="billed") == ["usd 20/20/0/1"]
    assert await owed(office, boss, scope="incurred") == ["usd 20/20/0/1"]
    assert await owed(office, boss, scope="billed") == []
    # an invoice is never split: children incur nothing of their own
    for member in (seat, heir):
        assert await owed(office, member) == ["usd 0/0/0/0"]
