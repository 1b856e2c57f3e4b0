"""Wallets that top themselves up, and what state their balances are in."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.clock.advance import Clockwork
from farthing.catalogue.products.alerts import alert_state
from farthing.credits.wallets.evaluation import evaluate_due
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.credits.wallets.test_real_time import balance_of, wallet_of
from tests.credits.wallets.test_wallets import debit, movements, top_up
from tests.subscriptions.shop import at

AUTO = {"enabled": True, "threshold": 50, "amount": 100, "invoicing": False}
WATCHED = {
    "alert_enabled": True,
    "critical": {"threshold": "0", "condition": "below"},
    "warning": {"threshold": "100", "condition": "below"},
    "info": {"threshold": "200", "condition": "below"},
}


async def look(office: Office, moment: str = "") -> int:
    """Let everything be looked at that is due; how many looks it took."""
    if moment:
        await office.on(moment)
    looks = 0
    while True:
        async with office.transaction() as session:
            done = await evaluate_due(session, office.now)
        if not done:
            return looks
        looks += done


async def automatic(office: Office, wallet: Any) -> list[str]:
    """The credits of each automatic top-up, oldest first."""
    rows = await movements(office.account, wallet)
    return [row["credit_amount"] for row in rows if row["metadata"].get("auto_topup") == "true"]


@pytest.mark.parametrize(
    ("balance", "auto", "expected", "left"),
    [
        pytest.param("-120", {}, ["100", "100"], "80", id="a deep deficit is filled in steps"),
        pytest.param("50", {}, ["100"], "150", id="at the threshold it tops up"),
        pytest.param("50.000000001", {}, [], "50.000000001", id="above it does not"),
        pytest.param("-120", {"cooldown": {"value": 1, "unit": "hour"}}, ["100"], "-20", id="one for each cool-off"),
        pytest.param("-120", {"monthly_limit": 100}, ["100"], "-20", id="no more than the month's limit"),
        pytest.param("-120", {"monthly_limit": "250"}, ["100", "100"], "80", id="as much as the limit lets"),
        pytest.param("10", {"enabled": False}, [], "10", id="not when it is off"),
    ],
)
async def test_top_ups(office: Office, balance: str, auto: Any, expected: list[str], left: str) -> None:
    wallet = await wallet_of(office, await office.customer(), "200", auto_topup=AUTO | auto)
    await look(office)
    await debit(office.account, wallet, str(Decimal(200) - Decimal(balance)), "spent")
    await look(office)
    assert await automatic(office, wallet) == expected
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == left


async def test_the_cool_off_counts_from_the_last_automatic_one(office: Office) -> None:
    auto = AUTO | {"cooldown": {"value": 1, "unit": "hour"}}
    wallet = await wallet_of(office, await office.customer(), "10", auto_topup=auto)
    await look(office, "2026-01-01T10:00:00Z")
    await debit(office.account, wallet, "100", "spent")
    await look(office, "2026-01-01T10:30:00Z")
    await top_up(office.account, wallet, "1")
    await look(office, "2026-01-01T10:59:59Z")
    assert await automatic(office, wallet) == ["100"]
    await look(office, "2026-01-01T11:00:00Z")
    assert await automatic(office, wallet) == ["100", "100"]


async def test_usage_alone_tops_up_under_a_test_clock(office: Office) -> None:
    """60 credits less 15 of usage are below 50: the next look adds 100, though nothing has moved the wallet."""
    calls = await office.feature("calls")
    customer = await office.customer()
    await opened(office, await office.plan(office.usage(calls, "1")), customer)
    wallet = await wallet_of(office, customer, "60", auto_topup=AUTO)
    await look(office)
    await office.used("calls", customer, 15, "2026-01-01T00:00:00Z")
    await Clockwork(office.account.database, office.account.scope).move(at("2026-01-01T01:00:00Z"))
    assert await automatic(office, wallet) == ["100"]
    await office.on("2026-01-01T01:00:00Z")
    assert (await balance_of(office, wallet))["real_time_balance"] == "145"


async def test_parallel_looks_top_up_as_one_would(office: Office) -> None:
    wallet = await wallet_of(office, await office.customer(), "10", auto_topup=AUTO)
    await asyncio.gather(*(look(office) for _ in range(6)))
    assert await automatic(office, wallet) == ["100"]


async def test_a_hundred_in_an_hour_are_enough(office: Office) -> None:
    wallet = await wallet_of(office, await office.customer(), "1", auto_topup=AUTO | {"amount": "0.01"})
    await look(office)
    assert len(await automatic(office, wallet)) == 100
    await look(office, "2026-01-01T00:10:00Z")
    assert len(await automatic(office, wallet)) == 100


async def test_an_invoiced_top_up_waits_for_its_invoice(office: Office) -> None:
    """One unpaid invoice at most; that of another wallet of the customer does not count."""
    customer = await office.customer()
    wallet = await wallet_of(office, customer, "10", auto_topup=AUTO | {"invoicing": True})
    other = await wallet_of(office, customer, "10", auto_topup=AUTO | {"invoicing": True}, currency="eur")
    await look(office)
    await look(office, "2026-01-01T02:00:00Z")
    await look(office, "2026-01-01T04:00:00Z")
    for each in (wallet, other):
        page = await office.account.get(f"/wallets/{each['id']}/transactions", transaction_status="pending")
        assert [row["credit_amount"] for row in page["items"]] == ["100"]
    page = await office.account.post("/invoices/search", {"customer_id": customer["id"]}, expect=200)
    assert {invoice["billing_reason"] for invoice in page["items"]} == {"WALLET_AUTO_TOPUP"}
    assert len(page["items"]) == 2
    for invoice in page["items"]:
        paid = {"amount": "100", "currency": invoice["currency"], "payment_method_type": "OFFLINE"}
        body = {"destination_type": "INVOICE", "destination_id": invoice["id"], "process_payment": True}
        await office.account.post("/payments", body | paid)
    await look(office, "2026-01-01T04:01:00Z")
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "110"


@pytest.mark.parametrize(
    ("credits", "settings", "granted", "state"),
    [
        ("250", WATCHED, 0, "ok"),
        ("200", WATCHED, 0, "info"),
        ("150", WATCHED, 0, "info"),
        ("90", WATCHED, 0, "warning"),
        ("0", WATCHED, 0, "in_alarm"),
        ("-5", WATCHED, 0, "in_alarm"),
        ("-5", WATCHED | {"alert_enabled": False}, 0, "ok"),
        ("30", WATCHED | {"alert_threshold_type": "percentage"}, 0, "ok"),
        ("30", WATCHED | {"alert_threshold_type": "percentage"}, 30, "warning"),
        ("61", WATCHED | {"alert_threshold_type": "percentage"}, 30, "ok"),
    ],
)
def test_alert_states(credits: str, settings: Any, granted: int, state: str) -> None:
    assert alert_state(settings, Decimal(credits), Decimal(granted)) == state


async def test_the_state_of_a_wallet_follows_its_balance(office: Office) -> None:
    wallet = await wallet_of(office, await office.customer(), "250", alert_settings=WATCHED)
    states = []
    for number, taken in enumerate(("0.1", "100", "149.9", "50")):
        await debit(office.account, wallet, taken, f"d{number}")
        await look(office)
        states.append((await office.account.get(f"/wallets/{wallet['id']}"))["alert_state"])
    assert states == ["ok", "info", "in_alarm", "in_alarm"]
    await office.account.put(f"/wallets/{wallet['id']}", {"alert_settings": {"alert_enabled": False}})
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["alert_state"] == "ok"
    general = {"alert_enabled": True, "critical": {"threshold": "10", "condition": "below"}}
    await office.account.put("/settings/wallet_balance_alert_config", {"value": general})
    await office.account.put(f"/wallets/{wallet['id']}", {"alert_settings": None})
    await look(office)
    read = await office.account.get(f"/wallets/{wallet['id']}")
    assert read["alert_state"] == "in_alarm"
    assert "alert_settings" not in read


@pytest.mark.parametrize(
    ("auto", "field"),
    [
        ({"amount": -1}, "auto_topup.amount"),
        ({"threshold": -1}, "auto_topup.threshold"),
        ({"monthly_limit": 99}, "auto_topup.monthly_limit"),
        ({"amount": None}, "auto_topup.amount"),
        ({"cooldown": {"value": -1, "unit": "hour"}}, "auto_topup.cooldown.value"),
        ({"cooldown": {"value": 1, "unit": "year"}}, "auto_topup.cooldown.unit"),
    ],
)
async def test_settings_that_make_no_sense_are_named(office: Office, auto: Any, field: str) -> None:
    customer = await office.customer()
    body = {"customer_id": customer["id"], "currency": "usd", "auto_topup": AUTO | auto}
    refused = await office.account.post("/wallets", body, expect=400)
    assert field in refused["details"]


async def test_settings_are_merged_and_can_be_cleared(office: Office) -> None:
    auto = AUTO | {"cooldown": {"value": 2, "unit": "day"}}
    wallet = await wallet_of(office, await office.customer(), "500", auto_topup=auto)
    path = f"/wallets/{wallet['id']}"
    changed = await office.account.put(path, {"auto_topup": {"threshold": "7.5"}})
    assert changed["auto_topup"] == {
        "enabled": True,
        "threshold": "7.5",
        "amount": "100",
        "invoicing": False,
        "cooldown": {"value": 2, "unit": "day"},
    }
    cleared = await office.account.put(path, {"auto_topup": {"cooldown": {"value": 0, "unit": "day"}}})
    assert "cooldown" not in cleared["auto_topup"]
    gone = await office.account.put(path, {"auto_topup": None})
    assert "auto_topup" not in gone
    await office.account.put(path, {"auto_topup": {"enabled": True}}, expect=400)
    wrong = {"alert_enabled": True, "warning": {"threshold": "1", "condition": "below"}}
    await office.account.put(path, {"alert_settings": wrong}, expect=400)
