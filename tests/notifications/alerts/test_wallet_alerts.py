"""Balances of wallets against thresholds: which transitions are logged and announced, and each of them once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from farthing.notifications.alerts.proof import alert_differences
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.credits.wallets.test_real_time import wallet_of
from tests.credits.wallets.test_wallets import debit, top_up
from tests.notifications.alerts.watching import (
    WATCHED,
    alerts,
    events,
    level,
    look_at_wallets,
    names,
    states,
)

LOW_CREDIT, LOW_ONGOING = "low_credit_balance", "low_ongoing_balance"
PERCENT = {"alert_enabled": True, "alert_threshold_type": "percentage", "critical": level("10"), "warning": level("50")}
HIGH = {"alert_enabled": True, "critical": level("500", "above"), "warning": level("300", "above")}
CRITICAL = {"alert_enabled": True, "critical": level("50")}


async def reach(office: Office, wallet: Any, balances: str) -> None:
    """Move a wallet by hand to one balance after another."""
    credits = Decimal((await office.account.get(f"/wallets/{wallet['id']}"))["credit_balance"])
    for balance in balances.split():
        change = Decimal(balance) - credits
        if change < 0:
            await debit(office.account, wallet, str(-change), f"{wallet['id']} {credits} {balance}")
        else:
            await top_up(office.account, wallet, str(change))
        credits = Decimal(balance)


@pytest.mark.parametrize(
    ("thresholds", "balances", "logged", "announced"),
    [
        pytest.param(WATCHED, "250", "", "", id="a balance above all thresholds is no alert"),
        pytest.param(
            WATCHED,
            "250 200 150 90 0 -5 300",
            "info warning in_alarm ok",
            "dropped recovered",
            id="down through every level and up again",
        ),
        pytest.param(WATCHED, "0 150 0", "in_alarm info in_alarm", "dropped dropped", id="milder is not recovered"),
        pytest.param(WATCHED, "200.000000001 200", "info", "", id="a balance at a threshold has reached it"),
        pytest.param(WATCHED | {"alert_enabled": False}, "0 -5 300", "", "", id="off, nothing is compared"),
        pytest.param(
            HIGH,
            "300 500 299",
            "in_alarm warning in_alarm ok",
            "dropped dropped recovered",
            id="too much is alarming too",
        ),
        pytest.param(CRITICAL, "50 50.1 50", "in_alarm ok in_alarm", "dropped recovered dropped", id="one level"),
        pytest.param(PERCENT, "501 500 101 100", "warning in_alarm", "dropped", id="per cent of what was granted"),
    ],
)
async def test_transitions_of_a_balance(
    office: Office, thresholds: Any, balances: str, logged: str, announced: str
) -> None:
    wallet = await wallet_of(office, await office.customer(), alert_settings=thresholds)
    await reach(office, wallet, balances)
    assert await states(office.account, LOW_CREDIT) == logged.split()
    prefix = "wallet.credit_balance."
    assert await names(office.account, prefix) == [f"{prefix}{name}" for name in announced.split()]


async def test_a_row_says_what_was_compared_with_what(office: Office) -> None:
    wallet = await wallet_of(office, await office.customer(), "10", alert_settings=CRITICAL, conversion_rate="2")
    (row,) = await alerts(office.account, alert_type=LOW_CREDIT, expand="customer,wallet,feature")
    assert (row["entity_type"], row["entity_id"], row["customer_id"]) == ("wallet", wallet["id"], wallet["customer_id"])
    assert (row["alert_info"]["value_at_time"], row["alert_info"]["timestamp"]) == ("10", row["created_at"])
    assert row["alert_info"]["alert_settings"] == CRITICAL | {"alert_threshold_type": "absolute"}
    assert (row["wallet"]["id"], row["customer"]["id"]) == (wallet["id"], wallet["customer_id"])
    assert "feature" not in row
    (body,) = await events(office.account, "wallet.credit_balance")
    assert body["wallet"]["id"] == wallet["id"]
    assert body["alert"] == {
        "state": "in_alarm",
        "current_balance": "20",
        "credit_balance": "10",
        "alert_type": LOW_CREDIT,
        "alert_settings": CRITICAL | {"alert_threshold_type": "absolute"},
    }


async def test_all_levels_are_announced_where_the_environment_asks(office: Office) -> None:
    config = {"notify_all_levels": True}
    await office.account.put("/settings/wallet_balance_alert_config", {"value": config})
    wallet = await wallet_of(office, await office.customer(), "250", alert_settings=WATCHED)
    await reach(office, wallet, "150 90 0 250")
    bodies = await events(office.account, "wallet.credit_balance")
    assert [(body["event_type"].rpartition(".")[2], body["alert"]["state"]) for body in bodies] == [
        ("dropped", "info"),
        ("dropped", "warning"),
        ("dropped", "in_alarm"),
        ("recovered", "ok"),
    ]


async def test_a_wallet_without_settings_has_those_of_the_environment(office: Office) -> None:
    """Its own go before them, also when they are off."""
    general = {"alert_enabled": True, "critical": level("10")}
    await office.account.put("/settings/wallet_balance_alert_config", {"value": general})
    watched = await wallet_of(office, await office.customer(), "20")
    quiet = await wallet_of(office, await office.customer(), "20", alert_settings={"alert_enabled": False})
    for wallet in (watched, quiet):
        await reach(office, wallet, "5")
    assert [row["entity_id"] for row in await alerts(office.account)] == [watched["id"]]


@pytest.mark.parametrize("parallel", [50])
async def test_parallel_debits_make_one_transition(office: Office, parallel: int) -> None:
    """50 debits of 3 from 100 cross 50 once, whoever is first."""
    wallet = await wallet_of(office, await office.customer(), "100", alert_settings=CRITICAL)
    await asyncio.gather(*(debit(office.account, wallet, "1.5", f"d{number}") for number in range(parallel)))
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "25"
    assert await states(office.account, LOW_CREDIT) == ["in_alarm"]
    assert await names(office.account, "wallet.credit_balance") == ["wallet.credit_balance.dropped"]
    await asyncio.gather(
        *(top_up(office.account, wallet, "30") for _ in range(5)),
        *(look_at_wallets(office) for _ in range(5)),
    )
    await look_at_wallets(office)
    assert await states(office.account, LOW_CREDIT) == ["in_alarm", "ok"]
    async with office.transaction() as session:
        assert await alert_differences(session) == []


async def test_an_undone_debit_leaves_no_row(office: Office) -> None:
    wallet = await wallet_of(office, await office.customer(), "100", alert_settings=CRITICAL)
    taken = {"credits": "60", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "x"}
    await office.account.post(f"/wallets/{wallet['id']}/debit", taken, expect=200)
    await office.account.post(f"/wallets/{wallet['id']}/debit", taken | {"credits": "61"}, expect=409)
    assert await states(office.account, LOW_CREDIT) == ["in_alarm"]


async def test_usage_lowers_the_real_time_balance(office: Office) -> None:
    """The state is seen on the wallet; the value is announced whenever it differs from the one announced last."""
    calls, customer = await office.feature("calls"), await office.customer()
    await opened(office, await office.plan(office.usage(calls, "2")), customer)
    wallet = await wallet_of(office, customer, "100", alert_settings=CRITICAL, conversion_rate="2")
    await look_at_wallets(office)
    await office.used("calls", customer, 60, "2026-01-01T00:00:00Z")
    await look_at_wallets(office, "2026-01-01T02:00:00Z")
    await look_at_wallets(office, "2026-01-01T04:00:00Z")
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["alert_state"] == "in_alarm"
    assert await states(office.account, LOW_ONGOING) == ["in_alarm"]
    assert await states(office.account, LOW_CREDIT) == []
    (body,) = await events(office.account, "wallet.ongoing_balance.dropped")
    assert (body["alert"]["current_balance"], body["alert"]["credit_balance"]) == ("80", "40")
    sent = await events(office.account, "wallet.ongoing_balance.updated")
    figures = [(body["real_time_balance"], body["real_time_credit_balance"]) for body in sent]
    assert figures == [("200", "100"), ("80", "40")]


@pytest.mark.parametrize("ended_by", ["settings", "terminate", "modify"])
async def test_an_alarm_ends_with_its_wallet_or_settings(office: Office, ended_by: str) -> None:
    """Nobody is told, and the wallet that takes over begins its own."""
    wallet = await wallet_of(office, await office.customer(), "40", alert_settings=CRITICAL)
    await look_at_wallets(office)
    if ended_by == "settings":
        await office.account.put(f"/wallets/{wallet['id']}", {"alert_settings": {"alert_enabled": False}})
    elif ended_by == "terminate":
        await office.account.post(f"/wallets/{wallet['id']}/terminate", expect=200)
    else:
        body = {"modification_type": "prepaid_to_postpaid"}
        answer = await office.account.post(f"/wallets/{wallet['id']}/modify", body, expect=200)
        await look_at_wallets(office)
        assert await states(office.account, LOW_CREDIT, entity_id=answer["new_wallet"]["id"]) == ["in_alarm"]
    assert await states(office.account, LOW_CREDIT, entity_id=wallet["id"]) == ["in_alarm", "ok"]
    assert await states(office.account, LOW_ONGOING, entity_id=wallet["id"]) == ["in_alarm", "ok"]
    assert "wallet.credit_balance.recovered" not in await names(office.account, "wallet.credit_balance")
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["alert_state"] == "ok"
    async with office.transaction() as session:
        assert await alert_differences(session) == []


async def test_settings_of_the_environment_that_are_switched_off_end_alarms(office: Office) -> None:
    general = {"alert_enabled": True, "critical": level("10")}
    await office.account.put("/settings/wallet_balance_alert_config", {"value": general})
    wallet = await wallet_of(office, await office.customer(), "5")
    await look_at_wallets(office)
    await office.account.put("/settings/wallet_balance_alert_config", {"value": {"alert_enabled": False}})
    await look_at_wallets(office, "2026-01-01T02:00:00Z")
    assert await states(office.account, LOW_CREDIT) == ["in_alarm", "ok"]
    assert await states(office.account, LOW_ONGOING) == ["in_alarm", "ok"]
    assert await names(office.account, "wallet.ongoing_balance.recovered") == []
    assert (await office.account.get(f"/wallets/{wallet['id']}"))["alert_state"] == "ok"


async def test_features_have_thresholds_for_balances_too(office: Office) -> None:
    settings = {"alert_enabled": True, "critical": level("10"), "warning": level("50")}
    feature = await office.feature("calls")
    await office.account.put(f"/features/{feature['id']}", {"alert_settings": settings})
    wallet = await wallet_of(office, await office.customer(), "100", alert_settings=WATCHED)
    for balance in ("99", "40", "30", "5", "100"):
        await reach(office, wallet, balance)
        await look_at_wallets(office)
    assert await states(office.account, "feature_wallet_balance") == ["warning", "in_alarm", "ok"]
    body = (await events(office.account, "feature.wallet_balance"))[0]
    assert body == {
        "event_type": "feature.wallet_balance.alert",
        "alert_type": "feature_wallet_balance",
        "alert_status": "warning",
        "feature_id": feature["id"],
        "wallet_id": wallet["id"],
        "customer_id": wallet["customer_id"],
        "current_balance": "40",
        "credit_balance": "40",
    }
    (row, *_) = await alerts(office.account, entity_type="feature", expand="feature,wallet")
    assert (row["parent_entity_type"], row["parent_entity_id"]) == ("wallet", wallet["id"])
    assert (row["feature"]["id"], row["wallet"]["id"]) == (feature["id"], wallet["id"])
