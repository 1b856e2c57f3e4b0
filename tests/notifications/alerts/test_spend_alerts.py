"""Spend of subscriptions, line items and groups against thresholds, and when it is looked at."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from farthing.billing.clock.advance import Clockwork
from farthing.events.tables import UsageNotice
from farthing.jobs.duties.schedule import duties
from farthing.notifications.alert_tables import UsageEvaluation
from farthing.notifications.alerts import evaluation
from farthing.notifications.alerts.proof import alert_differences
from farthing.notifications.alerts.spend import evaluate_spend
from tests.account import Account
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.credits.wallets.test_real_time import wallet_of
from tests.notifications.alerts.watching import (
    above,
    alerts,
    events,
    level,
    look_at_usage,
    names,
    states,
)
from tests.subscriptions.shop import at

SPEND = "subscription_spend"


async def watch(account: Account, subscription: Any, config: Any, kind: str = "subscription", entity: str = "") -> Any:
    """Settings of spend; a narrower scope than the subscription has it for parent."""
    body = {"entity_type": kind, "entity_id": entity or subscription["id"], "config": config}
    if kind != "subscription":
        body |= {"parent_entity_type": "subscription", "parent_entity_id": subscription["id"]}
    return await account.post("/alerts/setting", body)


@pytest.mark.parametrize(
    ("config", "price", "calls", "logged", "announced"),
    [
        pytest.param(above("100"), "0.01", "9999 1", "in_alarm", "100/100", id="below it, and at it"),
        pytest.param(
            above("100", warning="80", info="50"),
            "1",
            "49 1 30 20 5",
            "info warning in_alarm",
            "50/50 80/80 100/100",
            id="one for each level",
        ),
        pytest.param(above("100", info="50"), "1", "120 30", "in_alarm", "120/100", id="from nothing to alarm"),
        pytest.param(above("100") | {"alert_enabled": False}, "1", "200", "", "", id="off, nothing is compared"),
        pytest.param(
            above("100", warning="50") | {"alert_threshold_type": "percentage"},
            "1",
            "99 1 100",
            "warning in_alarm",
            "100/50 200/100",
            id="per cent of the commitment of 200",
        ),
    ],
)
async def test_the_spend_of_a_subscription(
    office: Office, config: Any, price: str, calls: str, logged: str, announced: str
) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    committed: dict[str, Any] = (
        {"commitment_amount": "200", "overage_factor": "1"} if "alert_threshold_type" in config else {}
    )
    subscription = await opened(office, await office.plan(office.usage(feature, price)), customer, **committed)
    await watch(office.account, subscription, config)
    for number, count in enumerate(calls.split(), start=1):
        for part in range(0, int(count), 1000):
            await office.used("calls", customer, min(int(count) - part, 1000), "2026-01-01")
        await look_at_usage(office, f"2026-01-02T{number:02}:00:00Z")
    assert await states(office.account, SPEND) == logged.split()
    bodies = await events(office.account, "subscription.spend")
    assert [f"{body['current_spend']}/{body['threshold']}" for body in bodies] == announced.split()
    assert all(body["subscription"]["id"] == subscription["id"] for body in bodies)


async def test_without_a_commitment_per_cent_are_of_nothing(office: Office) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    subscription = await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await watch(office.account, subscription, above("1") | {"alert_threshold_type": "percentage"})
    await office.used("calls", customer, 500, "2026-01-01")
    await look_at_usage(office, "2026-01-02")
    assert await alerts(office.account) == []


async def test_line_items_and_groups_have_thresholds_of_their_own(office: Office) -> None:
    """Two groups: one that a price is in, one that a feature is in."""
    account, customer = office.account, await office.customer()
    calls, pages, mails = [await office.feature(name) for name in ("calls", "pages", "mails")]
    group = {"lookup_key": "g", "name": "G"}
    of_prices = await account.post("/groups", group | {"entity_type": "price"})
    of_features = await account.post("/groups", group | {"entity_type": "feature", "lookup_key": "f"})
    await account.put(f"/features/{pages['id']}", {"group_id": of_features["id"]})
    prices = office.usage(calls, "1", group_id=of_prices["id"]), office.usage(pages, "1"), office.usage(mails, "1")
    subscription = await opened(office, await office.plan(*prices), customer)
    items = {item["meter_id"]: item["id"] for item in subscription["line_items"]}
    of_mails = items[mails["meter_id"]]
    await watch(account, subscription, above("10"), "subscription_line_item", of_mails)
    await watch(account, subscription, above("20"), "group", of_prices["id"])
    await watch(account, subscription, above("30"), "group", of_features["id"])
    await watch(account, subscription, above("60"))
    for name, count in (("calls", 20), ("pages", 29), ("mails", 10)):
        await office.used(name, customer, count, "2026-01-01")
    await look_at_usage(office, "2026-01-02")
    rows = {(row["alert_type"], row["entity_id"]): row for row in await alerts(account)}
    assert set(rows) == {
        ("subscription_line_item_spend", of_mails),
        ("subscription_group_spend", of_prices["id"]),
    }
    row = rows["subscription_group_spend", of_prices["id"]]
    assert (row["parent_entity_type"], row["parent_entity_id"]) == ("subscription", subscription["id"])
    (body,) = await events(account, "subscription.line_item_spend")
    assert (body["subscription_line_item_id"], body["current_spend"]) == (of_mails, "10")
    (body,) = await events(account, "subscription.group_spend")
    assert (body["group_id"], body["current_spend"], body["threshold"]) == (of_prices["id"], "20", "20")
    await office.used("pages", customer, 1, "2026-01-02")
    await look_at_usage(office, "2026-01-03")
    assert await states(account, "subscription_group_spend", entity_id=of_features["id"]) == ["in_alarm"]
    assert await states(account, SPEND) == ["in_alarm"]


async def test_a_new_period_begins_a_stream_of_its_own(office: Office) -> None:
    """Nothing is said when a period ends in alarm; the next one raises its own."""
    feature, customer = await office.feature("calls"), await office.customer()
    subscription = await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await watch(office.account, subscription, above("10"))
    clock = Clockwork(office.account.database, office.account.scope)
    for month in ("01", "02", "03"):
        await clock.move(at(f"2026-{month}-02"))
        await office.used("calls", customer, 10 if month != "03" else 9, f"2026-{month}-01T12:00:00Z")
        await clock.move(at(f"2026-{month}-15"))
    assert await states(office.account, SPEND) == ["in_alarm", "in_alarm"]
    assert set(await names(office.account, "subscription.spend")) == {"subscription.spend.threshold_reached"}
    async with office.transaction() as session:
        assert await alert_differences(session) == []


async def test_a_deleted_event_lets_spend_recover(office: Office) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    subscription = await opened(office, await office.plan(office.usage(feature, "10")), customer)
    await watch(office.account, subscription, above("10"))
    event = {"event_id": "e", "event_name": "calls", "external_customer_id": customer["external_id"]}
    await office.account.post("/events", event, expect=202)
    await look_at_usage(office, "2026-01-02")
    await office.account.delete("/events/e")
    await look_at_usage(office, "2026-01-03")
    assert await states(office.account, SPEND) == ["in_alarm", "ok"]
    recovered = (await events(office.account, "subscription.spend"))[-1]
    assert (recovered["event_type"], recovered["current_spend"]) == ("subscription.spend.threshold_recovered", "0")
    assert "threshold" not in recovered


async def test_a_look_comes_five_and_a_half_minutes_after_the_first_event(office: Office) -> None:
    """What comes meanwhile is absorbed; what comes later is looked at later. One announcement for each look."""
    feature, customer = await office.feature("calls"), await office.customer()
    await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await wallet_of(office, customer, "100")
    looks = []
    for moment, count in (("12:00:00", 1), ("12:03:00", 1), ("12:05:29", 1), ("12:05:30", 1), ("12:11:00", 0)):
        await office.on(f"2026-01-01T{moment}Z")
        looks.append(await look_at_usage(office))
        if count:
            await office.used("calls", customer, count, "2026-01-01")
    assert looks == [0, 0, 0, 1, 1]
    sent = await events(office.account, "wallet.ongoing_balance.updated")
    assert [body["real_time_credit_balance"] for body in sent] == ["97", "96"]


async def test_a_test_clock_stops_for_a_look(office: Office) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    subscription = await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await watch(office.account, subscription, above("10"))
    await wallet_of(office, customer, "100", alert_settings={"alert_enabled": True, "critical": level("90")})
    await look_at_usage(office)
    await office.used("calls", customer, 10, "2026-01-01")
    await Clockwork(office.account.database, office.account.scope).move(at("2026-01-20"))
    assert {(row["alert_type"], row["created_at"]) for row in await alerts(office.account)} == {
        (SPEND, "2026-01-01T00:05:30Z"),
        ("low_ongoing_balance", "2026-01-01T00:05:30Z"),
    }


async def test_a_child_s_usage_is_spend_of_whoever_pays(office: Office) -> None:
    feature = await office.feature("calls")
    parent, child = await office.customer(), await office.customer()
    plan = await office.plan(office.usage(feature, "1"))
    inheriting: dict[str, Any] = {
        "inheritance": {"external_customer_ids_to_inherit_subscription": [child["external_id"]]}
    }
    subscription = await opened(office, plan, parent, **inheriting)
    await watch(office.account, subscription, above("10"))
    await look_at_usage(office)
    await office.used("calls", child, 10, "2026-01-01")
    await look_at_usage(office, "2026-01-02")
    assert await states(office.account, SPEND) == ["in_alarm"]


async def test_parallel_looks_make_one_transition(office: Office) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    subscription = await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await watch(office.account, subscription, above("10"))
    await office.used("calls", customer, 10, "2026-01-01")
    await office.on("2026-01-02")
    await asyncio.gather(*(look_at_usage(office) for _ in range(6)))
    assert await states(office.account, SPEND) == ["in_alarm"]
    assert await names(office.account, "subscription.spend") == ["subscription.spend.threshold_reached"]


async def test_a_look_that_is_an_hour_late_waits_once_for_the_others(office: Office) -> None:
    feature, customer = await office.feature("calls"), await office.customer()
    await opened(office, await office.plan(office.usage(feature, "1")), customer)
    await wallet_of(office, customer)
    await office.used("calls", customer, 10, "2026-01-01")
    await office.on("2026-01-01T02:00:00Z")
    # the first turn puts it at the back, the second looks
    assert await look_at_usage(office) == 2
    assert len(await events(office.account, "wallet.ongoing_balance.updated")) == 1


async def test_the_duty_looks_and_leaves_nothing(alone: Account) -> None:
    """The same customer has no row and no notice left; those that nobody watches get none."""
    office = await Office(alone).set_up()
    feature, customer, unwatched = await office.feature("calls"), await office.customer(), await office.customer()
    plan = await office.plan(office.usage(feature, "1"))
    subscription = await opened(office, plan, customer)
    await opened(office, plan, unwatched)
    await watch(office.account, subscription, above("10"))
    await look_at_usage(office)
    for owner in (customer, unwatched):
        await office.used("calls", owner, 10, "2026-01-01")
    known = duties(alone.database, alone.settings)
    (duty,) = [duty for duty in known if duty.name == "usage_alert_evaluation"]
    await duty.run(office.account.database, at("2026-01-01"))
    async with office.transaction() as session:
        assert list(await session.scalars(select(UsageEvaluation.customer_id))) == [customer["id"]]
        assert await session.scalar(select(func.count()).select_from(UsageNotice)) == 0
    await office.account.freeze(office.now + timedelta(minutes=6))
    await duty.run(office.account.database, at("2026-01-01"))
    async with office.transaction() as session:
        assert list(await session.scalars(select(UsageEvaluation.customer_id))) == []
    assert await states(office.account, SPEND) == ["in_alarm"]


async def test_a_look_that_fails_holds_up_nobody(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again later, and finds then what it would have found."""
    feature = await office.feature("calls")
    plan, owners = await office.plan(office.usage(feature, "1")), [await office.customer() for _ in range(2)]
    for owner in owners:
        subscription = await opened(office, plan, owner)
        await watch(office.account, subscription, above("10"))
        await look_at_usage(office)
        await office.used("calls", owner, 10, "2026-01-01T00:01:00Z")
        await look_at_usage(office, "2026-01-01T00:01:00Z")

    async def fail_for_the_first(session: Any, payer_id: str, now: Any) -> None:
        if payer_id == owners[0]["id"]:
            await session.execute(text("SELECT 1 / 0"))
        await evaluate_spend(session, payer_id, now)

    monkeypatch.setattr(evaluation, "evaluate_spend", fail_for_the_first)
    assert await look_at_usage(office, "2026-01-01T00:10:00Z") == 2
    assert [row["customer_id"] for row in await alerts(office.account)] == [owners[1]["id"]]
    monkeypatch.undo()
    await look_at_usage(office, "2026-01-01T00:16:00Z")
    assert [row["customer_id"] for row in await alerts(office.account)] == [owners[1]["id"], owners[0]["id"]]


async def test_what_a_backfill_adds_is_noticed(office: Office) -> None:
    customer = await office.customer()
    await office.used("late", customer, 2, "2026-04-01")
    assert await _notices(office.account, taken=True) == [customer["external_id"]]
    await office.feature("late")
    assert await _notices(office.account) == [customer["external_id"]]


async def _notices(account: Account, *, taken: bool = False) -> list[str]:
    """Whose usage waits to be looked at; it is then looked at no more if `taken`."""
    async with account.transaction() as session:
        listed = (await session.scalars(select(UsageNotice.external_customer_ids))).all()
        if taken:
            await session.execute(delete(UsageNotice))
    return [external_id for notice in listed for external_id in notice]
