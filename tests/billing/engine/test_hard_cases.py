"""Cases that billing systems are known to get wrong, each as a finance person would put it.

Others of the kind stand with what they are about: periods and ends in `test_worked_invoices` and `test_states`,
commitments, allowances and thresholds in the other files of this folder, credits in `test_settlements`, children in
`test_families`, pauses in `test_pauses`, crashes and rivals in `test_run`.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from farthing.billing.calculation.charges import charges_of
from farthing.calendar.billing import InvoiceCadence
from farthing.core.money import round_to
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.tables import SubscriptionLineItem
from tests.billing.counter import (
    Body,
    cancel,
    credited,
    do,
    drop,
    modify,
    open_items,
    opened,
    percent,
    read,
    seats,
)
from tests.billing.office import ARREAR, Office
from tests.billing.values import at, item, span, subscription
from tests.subscriptions.shop import fixed

PRORATED: dict[str, Any] = {"proration_behavior": "create_prorations"}
REPLACING = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}


class TestMoney:
    async def test_the_period_that_a_date_ends_is_billed_before_it_ends(self, office: Office) -> None:
        calls, customer = await office.feature("calls"), await office.customer()
        made = await opened(office, await office.plan(fixed("10"), office.usage(calls, "1")), customer)
        await cancel(office, made, "scheduled_date", cancel_at="2026-03-01T00:00:00Z")
        await office.used("calls", customer, 3, "2026-02-15")
        await office.run("2026-02-01")
        assert (await read(office, made))["subscription_status"] == "active"
        await office.run("2026-03-01")
        assert (await read(office, made))["subscription_status"] == "cancelled"
        assert await office.totals() == ["10.00", "10.00", "3.00"]

    async def test_a_first_period_is_measured_by_the_customers_own_midnight(self, office: Office) -> None:
        """Feb 15 to Mar 1 in Kolkata: 14 of 28 days, wherever the server stands."""
        await office.on("2026-02-14T18:30")
        customer = await office.customer(timezone="Asia/Kolkata")
        made = await opened(office, await office.plan(fixed("100")), customer, billing_cycle="calendar", **PRORATED)
        assert made["billing_anchor"] == "2026-02-28T18:30:00Z"
        assert made["latest_invoice"]["total"] == "50"

    async def test_tiered_seats_are_prorated_by_what_they_cost(self, office: Office) -> None:
        """5 seats at 10 and all above at 1: 7 seats cost 52, so two more cost 2 a month and not 20."""
        tiers = [{"up_to": 5, "unit_amount": "10"}, {"up_to": None, "unit_amount": "1"}]
        await office.on("2026-04-01")
        plan = await office.plan(fixed("0", billing_model="TIERED", tier_mode="SLAB", tiers=tiers))
        override = [{"price_id": plan["prices"][0]["id"], "quantity": "5"}]
        made = await opened(office, plan, override_line_items=override)
        await office.on("2026-04-16")
        await seats(office, made, made["line_items"][0], 7)
        assert await office.totals() == ["50.00", "1.00"]

    async def test_what_a_downgrade_leaves_over_is_owed_to_the_payer(self, office: Office) -> None:
        made = await opened(office, await office.plan(fixed("90")))
        target = await office.plan(fixed("10"), name="Small")
        await office.on("2026-01-11T08:00")
        await do(office, made, "change/execute", {"target_plan_id": target["id"], **REPLACING, **PRORATED})
        assert await credited(office) == ["50"]

    async def test_a_new_subscription_on_another_plan_keeps_all_that_is_not_the_plans(self, office: Office) -> None:
        await percent(office, "ten", "10")
        addon, user = await office.addon(fixed("3")), await office.customer("user")
        await office.customer("payer")
        plan, target = await office.plan(fixed("10")), await office.plan(fixed("20"), name="Other")
        extra = await office.plan(fixed("5"), name="Extra")
        terms: dict[str, Any] = {
            "collection_method": "send_invoice",
            "payment_behavior": "default_active",
            "gateway_payment_method_id": "pm_1",
            "payment_terms": "30 NET",
            "commitment_amount": "100",
            "commitment_duration": "ANNUAL",
            "overage_factor": "1.5",
            "enable_true_up": True,
        }
        made = await opened(
            office,
            plan,
            user,
            **terms,
            addons=[{"addon_id": addon["id"]}],
            line_items=[{"price_id": extra["prices"][0]["id"]}],
            subscription_coupons=[{"coupon_code": "ten"}],
            inheritance={"invoicing_customer_external_id": "payer"},
        )
        await office.on("2026-01-11")
        done = await do(
            office, made, "change/execute", {"target_plan_id": target["id"], **REPLACING, "proration_behavior": "none"}
        )
        fresh = await read(office, {"id": done["new_subscription"]["id"]})
        for name in (*terms, "invoicing_customer_id", "subscription_type"):
            assert fresh[name] == made[name], name
        assert sorted(line_item["price"]["amount"] for line_item in fresh["line_items"]) == ["20", "3", "5"]
        assert done["invoice"]["total"] == "25.2"

    @pytest.mark.parametrize(
        ("subscribed", "addon", "fits"),
        [
            pytest.param("MONTHLY", "WEEKLY", False, id="an addon cannot bill more often than the subscription"),
            pytest.param("QUARTERLY", "MONTHLY", False, id="nor by the month on a quarter"),
            pytest.param("MONTHLY", "QUARTERLY", True, id="less often it may"),
            pytest.param("MONTHLY", "MONTHLY", True, id="and as often"),
        ],
    )
    async def test_addons_bill_as_often_or_less(self, office: Office, subscribed: str, addon: str, fits: bool) -> None:
        plan = await office.plan(fixed("10", billing_period=subscribed))
        added = await office.addon(fixed("3", billing_period=addon))
        made = await opened(
            office, plan, None, 201 if fits else 400, billing_period=subscribed, addons=[{"addon_id": added["id"]}]
        )
        if fits:
            assert made["latest_invoice"]["total"] == "13"
        else:
            assert made["code"] == "validation_error"

    async def test_three_times_a_tenth_is_three_tenths(self, office: Office) -> None:
        calls, customer = await office.feature("calls"), await office.customer()
        plan = await office.plan(office.usage(calls, "0.1"))
        await opened(office, plan, customer, auto_invoice_threshold="0.3")
        await office.used("calls", customer, 3, "2026-01-05")
        body = {"frozen_time": "2026-01-06T00:00:00Z"}
        await office.account.post(f"/environments/{office.account.environment_id}/clock", body, 200)
        ((reason, _, total),) = await office.billed()
        assert (reason, total) == ("AUTO_INVOICE_THRESHOLD", "0.30")

    @pytest.mark.parametrize(
        ("behaviour", "total"),
        [
            pytest.param("create_prorations", "10.00", id="by elapsed time when prorated"),
            pytest.param("none", "31.00", id="in full when not"),
        ],
    )
    async def test_a_fee_in_arrear_of_a_period_cut_short(self, office: Office, behaviour: str, total: str) -> None:
        made = await opened(office, await office.plan(fixed("31", **ARREAR)))
        await office.on("2026-01-11")
        policy = {"cancel_immediately_invoice_policy": "generate_invoice"}
        await cancel(office, made, proration_behavior=behaviour, **policy)
        assert await office.billed() == [("PRORATION", "01-01..01-11", total)]

    async def test_a_change_that_cannot_be_billed_is_not_made(self, office: Office) -> None:
        made = await opened(office, await office.plan(fixed("9999999999")))
        before = await read(office, made)
        await office.on("2026-01-11")
        refused = await seats(office, made, made["line_items"][0], 10**11, expect=400)
        assert refused["code"] == "validation_error"
        assert await read(office, made) == before
        assert await credited(office) == []

    async def test_the_same_request_sent_twice_at_once_pays_once(self, office: Office) -> None:
        await office.on("2026-04-01")
        made = await opened(office, await office.plan(fixed("30")))
        await office.on("2026-04-11")
        body = {"cancellation_type": "immediate", **PRORATED}
        path = f"/subscriptions/{made['id']}/cancel"
        answers = await asyncio.gather(*(office.account.http.post(path, json=body) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
        assert await credited(office) == ["20"]

    async def test_two_items_of_one_price_are_both_billed(self, office: Office) -> None:
        plan = await office.plan(fixed("10"))
        same = [{"price_id": plan["prices"][0]["id"], "quantity": "2"}]
        made = await opened(office, plan, line_items=same)
        assert made["latest_invoice"]["total"] == "30"
        await office.run("2026-03-01")
        assert await office.totals() == ["30.00", "30.00", "30.00"]

    @settings(max_examples=60)
    @given(
        days=st.lists(st.integers(1, 30 * 24 - 1), unique=True, max_size=6),
        amount=st.decimals(min_value=0, max_value=10_000, places=2),
    )
    def test_versions_in_arrear_sum_to_the_fee(self, days: list[int], amount: Decimal) -> None:
        april = span("2026-04-01", "2026-05-01")
        edges = [0, *sorted(days), 30 * 24]
        versions = [
            item(
                str(amount),
                id=f"version-{since}",
                cadence=InvoiceCadence.ARREAR,
                start=f"2026-04-{1 + since // 24:02}T{since % 24:02}:00",
                end=None if until == 30 * 24 else f"2026-04-{1 + until // 24:02}T{until % 24:02}:00",
            )
            for since, until in pairwise(edges)
        ]
        charged = charges_of(subscription(april, *versions), InvoiceTrigger.CYCLE, april).arrear
        assert sum(line.share for line in charged) == 1
        total = sum(round_to(Fraction(amount) * line.share, 2) for line in charged)
        assert abs(total - amount) <= Decimal("0.01") * len(versions)
        assert charged[0].start == at("2026-04-01")


class TestJobs:
    async def test_no_page_of_the_run_skips_what_follows_it(self, office: Office) -> None:
        plan = await office.plan(fixed("10"))
        made = [await opened(office, plan) for _ in range(5)]
        summary = await office.run("2026-02-01", batch=2)
        assert (summary.failed, summary.drafted) == ({}, 5)
        assert len(await office.totals()) == 2 * len(made)

    async def test_one_that_cannot_leave_its_trial_holds_nobody(self, office: Office) -> None:
        plan = await office.plan(fixed("1000"))
        broken, fine = await opened(office, plan, trial_period_days=7), await opened(office, plan, trial_period_days=7)
        async with office.account.transaction() as session:
            # more seats than an invoice can carry
            await session.execute(
                update(SubscriptionLineItem)
                .where(SubscriptionLineItem.subscription_id == broken["id"])
                .values(quantity=Decimal(99999999999999))
            )
        summary = await office.run("2026-01-08")
        assert list(summary.failed) == [broken["id"]]
        assert (await read(office, fine))["subscription_status"] == "active"
        after = await read(office, broken)
        assert (after["subscription_status"], after["current_period_end"]) == ("trialing", "2026-01-08T00:00:00Z")

    async def test_a_plan_change_that_fails_says_so_and_is_told(self, office: Office) -> None:
        plan, other = await office.plan(fixed("10")), await office.plan(fixed("30"), name="Other")
        made = await opened(office, plan)
        later = {"target_plan_id": other["id"], "proration_behavior": "none", "change_at": "end_of_period"}
        await do(office, made, "change/execute", later | REPLACING)
        await office.account.http.request("DELETE", f"/prices/{other['prices'][0]['id']}", json={})
        assert (await office.run("2026-02-01")).failed == {}
        (schedule,) = (await office.account.get(f"/subscriptions/{made['id']}/schedules"))["schedules"]
        assert (schedule["status"], bool(schedule["error_message"])) == ("failed", True)
        assert (await read(office, made))["subscription_status"] == "active"
        assert await office.totals() == ["10.00", "10.00"]
        assert (await office.events(made["id"]))[-1] == "subscription.updated"

    async def test_two_writers_of_one_item_leave_one_successor(self, office: Office) -> None:
        made = await opened(office, await office.plan(fixed("10")))
        await office.on("2026-01-11")
        path = f"/subscriptions/lineitems/{made['line_items'][0]['id']}"
        answers = await asyncio.gather(
            *(office.account.http.put(path, json={"amount": str(amount)}) for amount in (20, 30, 40))
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes[0] == 200
        assert set(codes[1:]) <= {400, 409}
        assert len(await open_items(office, made)) == 1
        assert (await read(office, made))["version"] == made["version"] + 1

    async def test_a_phase_that_cannot_be_leaves_no_subscription(self, office: Office) -> None:
        plan = await office.plan(fixed("10"))
        phases = [
            {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-02-01T00:00:00Z"},
            {
                "start_date": "2026-02-01T00:00:00Z",
                "override_line_items": [{"price_id": "price_unknown", "quantity": "2"}],
            },
        ]
        await opened(office, plan, expect=400, phases=phases)
        assert (await office.account.get("/subscriptions"))["pagination"]["total"] == 0
        assert await office.totals() == []


class TestEndpoints:
    async def test_an_update_keeps_what_it_does_not_name(self, office: Office) -> None:
        made = await opened(office, await office.plan(fixed("10")))
        await cancel(office, made, "end_of_period")
        after = await office.account.put(f"/subscriptions/{made['id']}", {})
        assert (after["cancel_at_period_end"], after["cancel_at"]) == (True, "2026-02-01T00:00:00Z")

    @pytest.mark.parametrize(
        "beginning",
        [
            pytest.param({"trial_period_days": 7}, id="on trial"),
            pytest.param({"payment_behavior": "default_incomplete", "collection_method": "send_invoice"}, id="unpaid"),
            pytest.param({"subscription_status": "draft"}, id="as a draft"),
        ],
    )
    async def test_extra_items_may_come_with_any_beginning(self, office: Office, beginning: Body) -> None:
        made = await opened(office, await office.plan(fixed("10")), line_items=[{"price": fixed("5")}], **beginning)
        assert len(made["line_items"]) == 2

    async def test_a_plan_change_made_late_may_begin_in_the_past(self, office: Office) -> None:
        plan, other = await office.plan(fixed("10")), await office.plan(fixed("30"), name="Other")
        made = await opened(office, plan, **PRORATED)
        later = {"target_plan_id": other["id"], **PRORATED, "change_at": "end_of_period"}
        await do(office, made, "change/execute", later | REPLACING)
        assert (await office.run("2026-02-03")).failed == {}
        (schedule,) = (await office.account.get(f"/subscriptions/{made['id']}/schedules"))["schedules"]
        assert (schedule["status"], schedule.get("error_message")) == ("executed", None)
        assert await office.totals() == ["10.00", "30.00"]
        await opened(office, plan, None, 400, start_date="2026-02-02T00:00:00Z", **PRORATED)

    async def test_errors_of_schedules_look_like_all_others(self, office: Office) -> None:
        made = await opened(office, await office.plan(fixed("10")))
        await cancel(office, made, "end_of_period")
        (schedule,) = (await office.account.get(f"/subscriptions/{made['id']}/schedules"))["schedules"]
        path = f"/subscriptions/schedules/{schedule['id']}/cancel"
        await office.account.post(path, None, 200)
        for answer, code in (
            (await office.account.post(path, None, 400), "invalid_operation"),
            (await office.account.post("/subscriptions/schedules/sched_unknown/cancel", None, 404), "not_found"),
        ):
            assert (answer["code"], answer["success"]) == (code, False)
            assert answer["message"]
            assert answer["error"]

    async def test_two_changes_in_one_minute_are_two(self, office: Office) -> None:
        await office.on("2026-04-01")
        plan = await office.plan(fixed("30"), fixed("60"))
        made = await opened(office, plan)
        await office.on("2026-04-11T00:00:10")
        await drop(office, made["line_items"][0])
        await office.on("2026-04-11T00:00:40.123456")
        await drop(office, made["line_items"][1])
        assert sorted(await credited(office)) == ["20", "40"]

    async def test_of_two_spellings_the_right_one_wins(self, office: Office) -> None:
        plan = await office.plan(fixed("10", **ARREAR))
        skipped, billed = await opened(office, plan), await opened(office, plan)
        await office.on("2026-01-11")
        await cancel(
            office,
            skipped,
            cancel_immediately_invoice_policy="skip",
            cancel_immediately_inovice_policy="generate_invoice",
        )
        await cancel(
            office,
            billed,
            cancel_immediately_invoice_policy="generate_invoice",
            cancel_immediately_inovice_policy="skip",
        )
        assert {invoice.subscription_id for invoice in await office.invoices()} == {billed["id"]}

    async def test_nobody_detaches_an_addon_through_another_subscription(self, office: Office) -> None:
        plan, addon = await office.plan(fixed("10")), await office.addon(fixed("3"))
        mine, theirs = await opened(office, plan), await opened(office, plan, addons=[{"addon_id": addon["id"]}])
        (attached,) = (await office.account.get(f"/subscriptions/{theirs['id']}/addons/associations"))["items"]
        wanted = {"addon_association_id": attached["id"]}
        refused = await modify(office, mine, "addon", 400, action="remove", remove=wanted)
        assert "addon_association_id" in refused["details"]
        assert len((await office.account.get(f"/subscriptions/{theirs['id']}/addons/associations"))["items"]) == 1
