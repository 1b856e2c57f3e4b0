"""Collecting what subscriptions owe: every collection method with every payment behaviour, at the built-in provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from farthing.billing.collection import collect
from farthing.billing.collection.collect import collect_due
from farthing.core.clock import FixedClock
from farthing.invoices.ports import InvoicePorts
from farthing.payments.integrations.gateways import Gateways
from tests.billing.counter import Body, cancel, has_card, opened, percent, read
from tests.billing.office import Office
from tests.payments.till import DECLINED, OK
from tests.subscriptions.shop import fixed

AUTO, SENT = "charge_automatically", "send_invoice"


def by(method: str, behaviour: str) -> dict[str, Any]:
    return {"collection_method": method, "payment_behavior": behaviour}


async def to(office: Office, moment: str) -> None:
    """Let everything happen up to a moment, collecting included."""
    body = {"frozen_time": f"{moment}T00:00:00Z"}
    done = await office.account.post(f"/environments/{office.account.environment_id}/clock", body, 200)
    assert not done.get("error"), done


async def claims(office: Office, subscription: Body) -> list[str]:
    """Reason and payment status of each of its invoices, oldest first."""
    return [
        f"{str(invoice.billing_reason).removeprefix('SUBSCRIPTION_')} {invoice.payment_status.value}"
        for invoice in await office.invoices()
        if invoice.subscription_id == subscription["id"]
    ]


@pytest.mark.parametrize(
    ("method", "behaviour", "card", "status", "invoice"),
    [
        pytest.param(AUTO, "default_active", OK, "active", "SUCCEEDED", id="active, and charged"),
        pytest.param(AUTO, "default_active", DECLINED, "active", "FAILED", id="active whatever the card says"),
        pytest.param(AUTO, "default_active", None, "active", "PENDING", id="active without a card"),
        pytest.param(AUTO, "allow_incomplete", OK, "active", "SUCCEEDED", id="paid is active"),
        pytest.param(AUTO, "allow_incomplete", DECLINED, "incomplete", "FAILED", id="declined waits"),
        pytest.param(AUTO, "allow_incomplete", None, "incomplete", "PENDING", id="without a card it waits"),
        pytest.param(AUTO, "error_if_incomplete", OK, "active", "SUCCEEDED", id="it must be paid and is"),
        pytest.param(SENT, "default_active", OK, "active", "PENDING", id="a sent invoice is not charged"),
        pytest.param(SENT, "default_incomplete", OK, "incomplete", "PENDING", id="a sent invoice waits to be paid"),
    ],
)
async def test_the_opening(
    office: Office, method: str, behaviour: str, card: str | None, status: str, invoice: str
) -> None:
    customer = await office.customer()
    if card is not None:
        await has_card(office, customer, card)
    made = await opened(office, await office.plan(fixed("10")), customer, **by(method, behaviour))
    assert made["subscription_status"] == status
    assert await claims(office, made) == [f"CREATE {invoice}"]
    if status == "incomplete":
        paid = {"payment_status": "SUCCEEDED"}
        await office.account.put(f"/invoices/{made['latest_invoice']['id']}/payment", paid)
        assert (await read(office, made))["subscription_status"] == "active"


@pytest.mark.parametrize(
    ("method", "behaviour"),
    [(AUTO, "default_incomplete"), (SENT, "allow_incomplete"), (SENT, "error_if_incomplete")],
)
async def test_pairs_that_do_not_go_together(office: Office, method: str, behaviour: str) -> None:
    plan = await office.plan(fixed("10"))
    refused = await opened(office, plan, expect=400, **by(method, behaviour))
    assert "payment_behavior" in refused["details"]


async def test_one_that_must_be_paid_and_is_not_leaves_nothing_behind(office: Office) -> None:
    await percent(office, "once", "10", max_redemptions=1)
    customer, heir, seat = await office.customer(), await office.customer("heir"), await office.customer("seat")
    await has_card(office, customer, DECLINED)
    plan = await office.plan(fixed("10"))
    terms = by(AUTO, "error_if_incomplete") | {"subscription_coupons": [{"coupon_code": "once"}]}
    families: list[dict[str, Any]] = [
        {"external_customer_ids_to_inherit_subscription": ["heir"]},
        {"grouped_invoicing_children_to_create": [{"plan_id": plan["id"], "external_customer_id": "seat"}]},
    ]
    for family in families:
        refused = await opened(office, plan, customer, 400, **terms, inheritance=family)
        assert (refused["code"], refused["message"]) == ("invalid_operation", "payment failed")
    assert (await office.account.get("/subscriptions"))["pagination"]["total"] == 0
    assert (await office.account.post("/subscriptions/lineitems/search", {}, 200))["items"] == []
    assert await office.totals() == []
    # the coupon is not used up, and nobody is held by what never was
    for subscription in (heir, seat):
        await opened(office, plan, subscription)
    made = await opened(office, plan, customer, subscription_coupons=[{"coupon_code": "once"}])
    assert made["latest_invoice"]["total"] == "9"


@pytest.mark.parametrize("behaviour", ["default_active", "allow_incomplete", "error_if_incomplete"])
async def test_a_renewal_that_fails_changes_no_status(office: Office, behaviour: str) -> None:
    customer, plan = await office.customer(), await office.plan(fixed("10"))
    await has_card(office, customer, OK)
    made = await opened(office, plan, customer, **by(AUTO, behaviour))
    await has_card(office, customer, DECLINED)
    await to(office, "2026-02-02")
    assert (await read(office, made))["subscription_status"] == "active"
    first, renewal = await claims(office, made)
    assert first == "CREATE SUCCEEDED"
    assert renewal in {"CYCLE PENDING", "CYCLE FAILED"}
    await to(office, "2026-03-02")
    assert len(await claims(office, made)) == 3


async def test_a_payment_wakes_neither_the_cancelled_nor_the_paused(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    over, asleep = await opened(office, plan), await opened(office, plan)
    await cancel(office, over)
    await office.account.post(f"/subscriptions/{asleep['id']}/pause", {}, 200)
    for made, status in ((over, "cancelled"), (asleep, "paused")):
        paid = {"payment_status": "SUCCEEDED"}
        await office.account.put(f"/invoices/{made['latest_invoice']['id']}/payment", paid)
        assert (await read(office, made))["subscription_status"] == status


@pytest.mark.parametrize(
    ("behaviour", "card", "status"),
    [
        pytest.param("default_active", DECLINED, "active", id="active whatever the card says"),
        pytest.param("allow_incomplete", DECLINED, "incomplete", id="declined waits"),
        pytest.param("allow_incomplete", OK, "active", id="paid is active"),
        pytest.param("error_if_incomplete", DECLINED, "incomplete", id="what exists is not undone"),
    ],
)
async def test_the_end_of_a_trial(office: Office, behaviour: str, card: str, status: str) -> None:
    customer = await office.customer()
    await has_card(office, customer, card)
    plan = await office.plan(fixed("10"))
    made = await opened(office, plan, customer, trial_period_days=14, **by(AUTO, behaviour))
    assert made["subscription_status"] == "trialing"
    await to(office, "2026-01-16")
    assert (await read(office, made))["subscription_status"] == status


async def test_a_trial_that_ends_in_nothing_to_pay_is_active_at_once(office: Office) -> None:
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    made = await opened(office, plan, trial_period_days=14, **by(AUTO, "allow_incomplete"))
    await to(office, "2026-01-15")
    assert (await read(office, made))["subscription_status"] == "active"


async def test_a_claim_that_a_crash_left_behind_is_collected_once_by_whoever_comes_next(office: Office) -> None:
    customer = await office.customer()
    await has_card(office, customer, OK)
    made = await opened(office, await office.plan(fixed("10")), customer)
    sent = await opened(office, await office.plan(fixed("10")), **by(SENT, "default_active"))
    await office.run("2026-02-01")  # the claims are there, and then the process was killed
    assert await claims(office, made) == ["CREATE SUCCEEDED", "CYCLE PENDING"]
    gateways = Gateways(
        office.account.database, office.account.settings, office.account.database.ports.part(InvoicePorts).hooks
    )

    async def come_by() -> dict[str, str]:
        clock = FixedClock(office.now)
        return await collect_due(office.account.database, office.account.scope, gateways, clock)

    assert await asyncio.gather(come_by(), come_by(), come_by()) == [{}, {}, {}]
    assert await come_by() == {}
    assert await claims(office, made) == ["CREATE SUCCEEDED", "CYCLE SUCCEEDED"]
    assert await claims(office, sent) == ["CREATE PENDING", "CYCLE PENDING"]
    payments = await office.account.get("/payments")
    assert payments["pagination"]["total"] == 2


async def test_more_claims_than_a_page_are_all_collected(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "PAGE", 2)
    plan = await office.plan(fixed("10"))
    made = []
    for _ in range(5):
        customer = await office.customer()
        await has_card(office, customer, OK)
        made.append(await opened(office, plan, customer))
    await office.run("2026-02-01")
    gateways = Gateways(
        office.account.database, office.account.settings, office.account.database.ports.part(InvoicePorts).hooks
    )
    failed = await collect_due(office.account.database, office.account.scope, gateways, FixedClock(office.now))
    assert failed == {}
    assert [await claims(office, each) for each in made] == [["CREATE SUCCEEDED", "CYCLE SUCCEEDED"]] * 5
