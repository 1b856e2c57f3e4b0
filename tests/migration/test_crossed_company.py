"""What a company that bills in other currencies leaves behind: taxes by customer, a payer for another, addons, credits
that roll over, money that went back, and a coupon whose budget was drawn on in both currencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farthing.credits.grants.sweep import GrantSweep
from tests.account import Account
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.migration.conftest import removal_of
from tests.migration.removal import (
    MOVED_ON,
    NEXT_PERIOD,
    billed_after,
    open_invoices_of,
    summaries_of,
)
from tests.migration.test_company import entitled_of, previews_of, prices_of, wallets_of
from tests.payments.till import Till
from tests.subscriptions.shop import fixed

RATE = {"from_currency": "usd", "to_currency": "inr", "scope": "tenant", "rate": "83.125"}
INDIAN = [{"tax_rate_code": code, "currency": "inr"} for code in ("gst", "cess")]
NAMES = ("rupees", "daughter", "promised", "granted")


async def fill_crossed(office: Office) -> None:
    """Books of January and February, with March begun."""
    post = office.account.post
    await office.on("2026-01-01")
    await post("/forex", RATE)
    for code, percentage in (("gst", "18"), ("cess", "1.5")):
        rate = {"name": code, "code": code, "tax_rate_type": "percentage", "percentage_value": percentage}
        await post("/taxes/rates", rate)
    calls = await office.feature()
    plan = await office.plan(
        fixed("1.20", display_name="Base"), office.usage(calls, "0.37", display_name="Calls"), name="Plan"
    )
    addon = await office.addon(fixed("9.99", display_name="Extra"), key="extras")
    two = {"name": "two", "coupon_code": "two", "type": "fixed", "amount_off": "12.22", "currency": "usd"}
    await post("/coupons", {**two, "cadence": "forever"})
    rupees = await office.customer("rupees", billing_currency="inr", tax_rate_overrides=INDIAN)
    for currency, credits in (("usd", "7"), ("inr", "100")):
        body = {"customer_id": rupees["id"], "currency": currency, "initial_credits_to_load": credits}
        await post("/wallets", body, expect=200)
    holding = await office.customer("holding", billing_currency="inr", tax_rate_overrides=INDIAN)
    discounted: dict[str, Any] = {"subscription_coupons": [{"coupon_code": "two"}]}
    own_rate = {**RATE, "scope": "customer", "scope_id": holding["id"], "rate": "84.5"}
    await post("/forex", {**own_rate, "start_date": "2026-04-01T00:00:00Z"})
    await post("/forex", {**own_rate, "end_date": "2026-01-02T00:00:00Z"})
    await opened(office, plan, rupees, addons=[{"addon_id": addon["id"]}], **discounted)
    await opened(office, plan, await office.customer("daughter"), invoicing_customer_id=holding["id"], **discounted)
    promise: dict[str, Any] = {"commitment_amount": "60", "overage_factor": "2", "commitment_duration": "ANNUAL"}
    await opened(office, plan, await office.customer("promised"), enable_true_up=True, **promise)
    granted = await opened(office, plan, await office.customer("granted"))
    await post(
        "/creditgrants",
        {"name": "roll", "scope": "SUBSCRIPTION", "subscription_id": granted["id"], "credits": "3",
         "cadence": "RECURRING", "period": "MONTHLY", "period_count": 1, "expiration_type": "NEVER",
         "rollover_maximum": "4", "start_date": "2026-01-01T00:00:00Z"},
    )  # fmt: skip
    for name in NAMES:
        await office.recorded("calls", {"external_id": name}, *((f"2026-0{month}-04", 13) for month in (1, 2, 3)))
    await office.run("2026-02-01")
    await office.run("2026-03-01")
    await office.on("2026-03-05")
    await GrantSweep(office.account.database, office.account.scope, office.now).run()
    await _pay_and_refund(office, rupees)
    await office.on(MOVED_ON)


async def rates_of(office: Office) -> list[tuple[Any, ...]]:
    """The rates that hold now or later: the pair, for whom, from when."""
    rates = (await office.account.post("/forex/query", {"status": "published"}, 200))["items"]
    lasting = [rate for rate in rates if "end_date" not in rate]
    return sorted((rate["scope"], rate["rate"], rate["source"], rate.get("start_date", "")) for rate in lasting)


async def _pay_and_refund(office: Office, rupees: dict[str, Any]) -> None:
    """Rupees paid in part and credited; a hundred that went back whole, by its way and into a wallet."""
    post, till = office.account.post, Till(office.account)

    async def credit(invoice: dict[str, Any], amount: str, **more: str) -> None:
        lines = [{"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": amount}]
        body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines}
        await post("/creditnotes", {**body, "process_credit_note": True, **more})

    newest, before, *_ = (await office.account.get("/invoices", customer_id=rupees["id"]))["items"]
    for invoice in (newest, before):
        await till.pay(invoice, "10")
    await credit(await office.account.get(f"/invoices/{newest['id']}"), "5")
    for name, target in (("to-source", {"refund_target": "BACK_TO_SOURCE"}), ("to-wallet", {})):
        customer = await office.customer(name)
        line = {"display_name": "Work", "amount": "100", "quantity": "1", "price_type": "FIXED"}
        body = {"customer_id": customer["id"], "currency": "usd", "line_items": [line]}
        invoice = await post("/invoices", body | dict.fromkeys(("amount_due", "subtotal", "total"), "100"))
        await till.pay(invoice, "100")
        await credit(invoice, "100", **target)


@pytest.mark.slow
async def test_what_is_left_behind_in_two_currencies_is_found_again(
    account: Account, stranger: Account, tmp_path: Path
) -> None:
    await fill_crossed(office := await Office(account).set_up())
    removal = await removal_of(office, stranger)
    looks = (summaries_of, open_invoices_of, entitled_of, wallets_of, prices_of, previews_of)
    for _ in range(2):  # a second run changes nothing
        status, report = await removal.reported(tmp_path)
        assert status == 0
        told = {str(problem) for row in report["problems"] for problem in row["problems"]}
        assert told == {
            "how it was converted is not kept: check by hand what is given back of it",
            "its commitment over several periods counts usage from the open period on",
            "credit grant roll limits what rolls over of what it gives from now on",
            "it has ended",
        }
        for figures in looks:
            assert await figures(removal.target) == await figures(removal.source), figures.__name__
        assert await removal.differences() == []
    assert await rates_of(removal.target) == await rates_of(removal.source)
    await removal.bill_both()
    assert await billed_after(removal.target, NEXT_PERIOD) == await billed_after(removal.source, NEXT_PERIOD)
    assert await removal.differences() == []
