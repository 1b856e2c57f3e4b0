"""Changes of a subscription and their money, over HTTP: previews say what executions do."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from farthing.billing.tables import ProrationSettlement
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def _counts(office: Office) -> list[int]:
    async with office.account.transaction(read_only=True) as session:
        return [
            int((await session.execute(select(func.count()).select_from(table))).scalar_one())
            for table in (Invoice, Subscription, SubscriptionLineItem, ProrationSettlement)
        ]


async def test_create_answers_with_the_opening_invoice(office: Office) -> None:
    plan, customer = await office.plan(fixed("50")), await office.customer()
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    made = await office.account.post("/subscriptions", body)
    assert made["subscription_status"] == "active"
    assert made["latest_invoice"]["total"] == "50"
    assert made["latest_invoice"]["invoice_status"] == "FINALIZED"
    assert made["latest_invoice"]["billing_reason"] == "SUBSCRIPTION_CREATE"


async def test_an_opening_of_nothing_activates(office: Office) -> None:
    calls = await office.feature("calls")
    plan, customer = await office.plan(office.usage(calls, "1")), await office.customer()
    body = {
        "customer_id": customer["id"],
        "plan_id": plan["id"],
        "currency": "usd",
        "billing_period": "MONTHLY",
        "payment_behavior": "allow_incomplete",
    }
    made = await office.account.post("/subscriptions", body)
    assert made["subscription_status"] == "active"


async def test_what_waits_for_payment_is_activated_by_it(office: Office) -> None:
    plan, customer = await office.plan(fixed("50")), await office.customer()
    body = {
        "customer_id": customer["id"],
        "plan_id": plan["id"],
        "currency": "usd",
        "billing_period": "MONTHLY",
        "payment_behavior": "default_incomplete",
        "collection_method": "send_invoice",
    }
    made = await office.account.post("/subscriptions", body)
    assert made["subscription_status"] == "incomplete"
    await office.account.put(f"/invoices/{made['latest_invoice']['id']}/payment", {"payment_status": "SUCCEEDED"})
    assert (await office.account.get(f"/subscriptions/{made['id']}"))["subscription_status"] == "active"


async def test_error_if_incomplete_leaves_nothing_behind(office: Office) -> None:
    plan, customer = await office.plan(fixed("50")), await office.customer()
    body = {
        "customer_id": customer["id"],
        "plan_id": plan["id"],
        "currency": "usd",
        "billing_period": "MONTHLY",
        "payment_behavior": "error_if_incomplete",
    }
    refused = await office.account.post("/subscriptions", body, expect=400)
    assert "payment failed" in str(refused)
    assert (await office.account.get("/subscriptions"))["pagination"]["total"] == 0
    assert await office.totals() == []


@pytest.mark.parametrize(
    ("quantity", "net"),
    [pytest.param("10", "33.34", id="P3 more seats are invoiced"), pytest.param("4", None, id="fewer are credited")],
)
async def test_quantity_changes(office: Office, quantity: str, net: str | None) -> None:
    await office.on("2026-04-01")
    plan = await office.plan(fixed("10"))
    seats = "5" if net is not None else "10"
    override = [{"price_id": plan["prices"][0]["id"], "quantity": seats}]
    subscription = await office.subscribed(plan, override_line_items=override)
    item = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"][0]
    await office.on("2026-04-11")
    asked = {
        "type": "quantity_change",
        "quantity_change_params": {"line_items": [{"id": item["id"], "quantity": quantity}]},
    }
    before = await _counts(office)
    path = f"/subscriptions/{subscription.id}/modify"
    previewed = await office.account.post(f"{path}/preview", asked, expect=200)
    assert await _counts(office) == before
    done = await office.account.post(f"{path}/execute", asked, expect=200)
    (told,) = done["changed_resources"]["invoices"]
    (foretold,) = previewed["changed_resources"]["invoices"]
    if net is None:
        assert (told["action"], told["amount"]) == ("credit_note", "40")
        assert foretold["amount"] == told["amount"]
    else:
        assert told["invoice"]["total"] == net
        assert told["invoice"]["invoice_type"] == "ONE_OFF"
        assert foretold["invoice"]["total"] == net
        assert foretold["status"] == "preview"
    actions = [line_item["change_action"] for line_item in done["changed_resources"]["line_items"]]
    assert actions == ["ended", "created"]


async def test_p19_cancelled_at_once_with_credit_and_a_last_invoice(office: Office) -> None:
    await office.on("2026-04-01")
    calls = await office.feature("calls")
    plan = await office.plan(fixed("20"), office.usage(calls, "1"))
    customer = await office.customer()
    override = [{"price_id": plan["prices"][0]["id"], "quantity": "3"}]
    subscription = await office.subscribed(plan, customer, override_line_items=override)
    await office.used("calls", customer, 7, "2026-04-05")
    await office.used("calls", customer, 9, "2026-04-20")
    await office.on("2026-04-11")
    asked = {
        "cancellation_type": "immediate",
        "proration_behavior": "create_prorations",
        "cancel_immediately_inovice_policy": "generate_invoice",
    }
    foretold = await office.account.post(f"/subscriptions/{subscription.id}/cancel/preview", asked, expect=200)
    done = await office.account.post(f"/subscriptions/{subscription.id}/cancel", asked, expect=200)
    assert done["total_credit_amount"] == foretold["total_credit_amount"] == "40"
    assert foretold["proration_invoice"]["total"] == "7"
    assert await office.billed(subscription) == [
        ("PRORATION", "04-01..04-11", "7.00"),
        ("CREATE", "04-01..05-01", "60.00"),
    ]
    await office.run("2026-08-01")
    assert len(await office.billed(subscription)) == 2


async def test_cancelled_without_an_invoice_owes_nothing_more(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("20")))
    await office.on("2026-01-11")
    done = await office.account.post(
        f"/subscriptions/{subscription.id}/cancel", {"cancellation_type": "immediate"}, expect=200
    )
    assert (done["status"], done["proration_details"], done["total_credit_amount"]) == ("cancelled", [], "0")
    await office.run("2026-06-01")
    assert await office.totals(subscription) == ["20.00"]


@pytest.mark.parametrize(
    ("old", "new", "opening", "credit"),
    [
        pytest.param("20", "50", "36.67", "13.33", id="P20 an upgrade"),
        pytest.param("50", "10", "0", "33.33", id="P21 a downgrade, the rest goes to the payer"),
    ],
)
async def test_a_plan_change_by_replacement(office: Office, old: str, new: str, opening: str, credit: str) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed(old)))
    target = await office.plan(fixed(new), name="Other")
    await office.on("2026-04-11")
    asked = {
        "target_plan_id": target["id"],
        "proration_behavior": "create_prorations",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_cycle": "anniversary",
    }
    path = f"/subscriptions/{subscription.id}/change"
    before = await _counts(office)
    foretold = await office.account.post(f"{path}/preview", asked, expect=200)
    assert await _counts(office) == before
    done = await office.account.post(f"{path}/execute", asked, expect=200)
    assert done["proration_applied"] == foretold["proration_details"]
    assert done["proration_applied"]["credit_amount"] == credit
    assert foretold["next_invoice_preview"]["total"] == opening
    assert done["old_subscription"]["status"] == "cancelled"
    if opening != "0":
        assert done["invoice"]["total"] == opening
    async with office.account.transaction(read_only=True) as session:
        owed = await session.scalar(select(func.sum(ProrationSettlement.credited_to_payer)))
    assert f"{owed:.2f}" == ("0.00" if opening != "0" else "23.33")


async def test_p9_a_plan_change_in_place(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20")))
    target = await office.plan(fixed("50"), name="Other")
    await office.on("2026-04-11")
    asked = {
        "target_plan_id": target["id"],
        "proration_behavior": "create_prorations",
        "idempotency_key": "change-1",
    }
    path = f"/subscriptions/{subscription.id}/change/v2"
    before = await _counts(office)
    foretold = await office.account.post(f"{path}/preview", asked, expect=200)
    assert await _counts(office) == before
    done = await office.account.post(f"{path}/execute", asked, expect=200)
    assert done["change_type"] == foretold["change_type"] == "upgrade"
    assert done["subscription"]["id"] == subscription.id
    for outcome in (done, foretold):
        assert [invoice["invoice"]["total"] for invoice in outcome["changed_resources"]["invoices"]] == ["20"]
    after = await _counts(office)
    again = await office.account.post(f"{path}/execute", asked, expect=200)
    assert again == done
    assert await _counts(office) == after
    await office.run("2026-05-01")
    assert await office.totals(subscription) == ["20.00", "20.00", "50.00"]


async def test_a_plan_change_at_the_end_of_the_period_bills_the_new_fee(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20")))
    target = await office.plan(fixed("50"), name="Other")
    asked = {"target_plan_id": target["id"], "proration_behavior": "none", "change_at": "end_of_period"}
    path = f"/subscriptions/{subscription.id}/change/v2/execute"
    assert (await office.account.post(path, asked, expect=200))["is_scheduled"] is True
    await office.run("2026-05-01")
    assert await office.totals(subscription) == ["20.00", "50.00"]


async def test_a_replacement_at_the_end_of_the_period(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("20", **ARREAR)))
    target = await office.plan(fixed("50"), name="Other")
    asked = {
        "target_plan_id": target["id"],
        "proration_behavior": "none",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_cycle": "anniversary",
        "change_at": "end_of_period",
    }
    path = f"/subscriptions/{subscription.id}/change/execute"
    scheduled = await office.account.post(path, asked, expect=200)
    assert scheduled["is_scheduled"] is True
    summary = await office.run("2026-05-01")
    assert summary.failed == {}
    assert await office.totals() == ["20.00", "50.00"]
    schedule = await office.account.get(f"/subscriptions/schedules/{scheduled['schedule_id']}")
    assert schedule["status"] == "executed"


async def test_items_added_and_ended_in_mid_period_are_settled(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("10")))
    await office.on("2026-04-11")
    body: dict[str, Any] = {
        "price": fixed("20"),
        "proration_behavior": "create_prorations",
    }
    item = await office.account.post(f"/subscriptions/{subscription.id}/lineitems", body)
    assert await office.totals(subscription) == ["10.00", "13.33"]
    await office.on("2026-04-21")
    await office.account.http.request(
        "DELETE", f"/subscriptions/lineitems/{item['id']}", json={"proration_behavior": "create_prorations"}
    )
    async with office.account.transaction(read_only=True) as session:
        credits = (await session.scalars(select(ProrationSettlement.credit).order_by(ProrationSettlement.id))).all()
    assert [f"{credit:.2f}" for credit in credits] == ["0.00", "6.67"]
    await office.run("2026-05-01")
    assert await office.totals(subscription) == ["10.00", "13.33", "10.00"]


async def test_a_preview_is_what_will_be_billed(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 1000, "2026-01-20")
    before = await _counts(office)
    preview = await office.account.post("/invoices/preview", {"subscription_id": subscription.id}, expect=200)
    assert await _counts(office) == before
    await office.run("2026-02-01")
    invoice = (await office.invoices(subscription))[-1]
    assert preview["total"] == f"{invoice.total:f}".rstrip("0").rstrip(".")
    assert preview["invoice_status"] == "DRAFT"
    internal = await office.account.post("/invoices/internal/preview", {"subscription_id": subscription.id}, expect=200)
    assert internal["period_start"] == "2026-02-01T00:00:00Z"


async def test_recalculation_replaces_an_invoice(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 5, "2026-01-20")
    await office.run("2026-02-01")
    old = (await office.invoices(subscription))[-1]
    await office.used("calls", customer, 2, "2026-01-21")
    done = await office.account.post(f"/invoices/{old.id}/recalculate", expect=202)
    assert done["workflow_id"]
    again = await office.account.get(f"/invoices/{old.id}")
    assert again["invoice_status"] == "VOIDED"
    new = await office.account.get(f"/invoices/{again['recalculated_invoice_id']}")
    assert (new["total"], new["billing_reason"]) == ("57", "SUBSCRIPTION_CYCLE")
    await office.account.post(f"/invoices/{old.id}/recalculate", expect=400)


async def test_a_draft_is_computed_again_in_place(office: Office) -> None:
    await office.settings(finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 5, "2026-01-20")
    await office.run("2026-02-01")
    (draft,) = await office.invoices(subscription)
    lines = await office.account.get(f"/invoices/{draft.id}")
    await office.used("calls", customer, 2, "2026-01-21")
    computed = await office.account.post(f"/invoices/{draft.id}/compute", expect=200)
    assert computed["invoice"]["total"] == "7"
    assert [line_item["id"] for line_item in computed["invoice"]["line_items"]] == [
        line_item["id"] for line_item in lines["line_items"]
    ]
    final = await office.account.post(f"/invoices/{draft.id}/recalculate-v2", expect=200)
    assert (final["invoice_status"], final["total"]) == ("FINALIZED", "7")


async def test_progressive_billing(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "0.01"))
    rich, poor = await office.customer(), await office.customer()
    over = await office.subscribed(plan, rich, auto_invoice_threshold="10")
    under = await office.subscribed(plan, poor, auto_invoice_threshold="10")
    await office.used("calls", rich, 1000, "2026-01-10")
    await office.used("calls", rich, 1, "2026-01-11")
    await office.used("calls", poor, 500, "2026-01-10")
    await office.account.post(
        f"/environments/{office.account.environment_id}/clock", {"frozen_time": "2026-01-15T00:00:00Z"}, expect=200
    )
    await office.used("calls", rich, 99, "2026-01-20")
    assert await office.billed(over) == [("AUTO_INVOICE_THRESHOLD", "01-01..01-10", "10.00")]
    assert await office.billed(under) == []
    await office.run("2026-02-01")
    assert await office.billed(over) == [
        ("AUTO_INVOICE_THRESHOLD", "01-01..01-10", "10.00"),
        ("CYCLE", "01-10..02-01", "1.00"),
    ]
    assert await office.billed(under) == [("CYCLE", "01-01..02-01", "5.00")]


async def test_priced_usage_so_far(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, commitment_amount="10", overage_factor="1.5")
    await office.used("calls", customer, 1000, "2026-01-10")
    told = await office.account.post("/subscriptions/usage", {"subscription_id": subscription.id}, expect=200)
    assert (told["amount"], told["has_overage"], told["overage_amount"]) == (25.0, True, 15.0)
    assert [charge["amount"] for charge in told["charges"]] == [10.0, 15.0]


async def test_unpaid_for_too_long_is_cancelled(office: Office) -> None:
    await office.account.put(
        "/settings/subscription_config", {"value": {"auto_cancellation_enabled": True, "grace_period_days": 3}}
    )
    subscription = await office.subscribed(await office.plan(fixed("10", **ARREAR)))
    path = f"/environments/{office.account.environment_id}/clock"
    # owed since February 1st, due a day later, and three days of grace
    await office.account.post(path, {"frozen_time": "2026-02-05T00:00:00Z"}, expect=200)
    assert (await office.account.get(f"/subscriptions/{subscription.id}"))["subscription_status"] == "active"
    await office.account.post(path, {"frozen_time": "2026-02-05T00:00:01Z"}, expect=200)
    assert (await office.account.get(f"/subscriptions/{subscription.id}"))["subscription_status"] == "cancelled"
