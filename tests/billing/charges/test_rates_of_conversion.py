"""The rate that an invoice is converted at, and what happens where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.charges.bureau import Bureau
from tests.billing.counter import Body, opened
from tests.billing.office import ARREAR
from tests.subscriptions.shop import fixed


class TestTheRate:
    @pytest.mark.parametrize(
        ("of_subscription", "moment", "total"),
        [
            pytest.param(True, "2026-03-10", "12", id="FX5: the customer's, before the subscription's begins"),
            pytest.param(True, "2026-03-15", "13", id="FX5: the subscription's, from its first instant"),
            pytest.param(True, "2026-04-01", "13", id="FX5: the subscription's, when the customer's has ended"),
            pytest.param(False, "2026-04-01", "11", id="FX5: the tenant's, at the end of the customer's"),
            pytest.param(False, "2026-03-31", "12", id="the customer's, on its last day"),
            pytest.param(False, "2026-02-28", "11", id="the tenant's, before the customer's begins"),
        ],
    )
    async def test_the_narrowest_that_holds(
        self, bureau: Bureau, of_subscription: bool, moment: str, total: str
    ) -> None:
        await bureau.on("2026-02-01")
        await bureau.rate("1.10", to_currency="eur")
        customer = await bureau.payer("eur")
        window: dict[str, Any] = {"start_date": "2026-03-01T00:00:00Z", "end_date": "2026-04-01T00:00:00Z"}
        of_customer: dict[str, Any] = {"scope": "customer", "scope_id": customer["id"]}
        await bureau.rate("1.20", to_currency="eur", **of_customer, **window)
        plan = await bureau.plan(fixed("10", **ARREAR))
        own = [{"rate": "1.30", "start_date": "2026-03-15T00:00:00Z"}] if of_subscription else []
        subscription = await opened(bureau, plan, customer, fx_rates=own)
        await bureau.settings(finalization_delay_seconds=300 * 24 * 3600)
        await bureau.run("2026-03-01")
        await bureau.on(moment)
        if moment < "2026-03-01":
            body = {"subscription_id": subscription["id"]}
            preview = await bureau.account.post("/invoices/preview", body, expect=200)
            assert preview["fx_conversion"]["rate"] == "1.1"
            return
        (draft,) = await bureau.issued(subscription)
        await bureau.account.post(f"/invoices/{draft['id']}/finalize", expect=200)
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["currency"], invoice["total"]) == ("eur", total)

    async def test_the_successor_of_a_subscription_keeps_its_rates(self, bureau: Bureau) -> None:
        await bureau.rate("1.10", to_currency="eur")
        customer = await bureau.payer("eur")
        first, second = await bureau.plan(fixed("10")), await bureau.plan(fixed("20"), name="Larger")
        subscription = await opened(bureau, first, customer, fx_rates=[{"rate": "1.30"}])
        body = {
            "target_plan_id": second["id"],
            "proration_behavior": "none",
            "billing_cadence": "RECURRING",
            "billing_period": "MONTHLY",
            "billing_period_count": 1,
            "billing_cycle": "anniversary",
        }
        changed = await bureau.account.post(f"/subscriptions/{subscription['id']}/change/execute", body, expect=200)
        successor = {"id": changed["new_subscription"]["id"]}
        assert (await bureau.issued(successor))[-1]["fx_conversion"]["rate"] == "1.3"

    @pytest.mark.parametrize(
        ("code", "windows", "field"),
        [
            pytest.param("usd", [{"rate": "1.3"}], "fx_rates", id="a payer who is billed in dollars"),
            pytest.param("chf", [{"rate": "1.3"}], "fx_rates", id="no rate of the tenant for the pair"),
            pytest.param("eur", [{"rate": "1.3"}, {"rate": "1.4"}], "fx_rates", id="windows that overlap"),
            pytest.param("eur", [{"rate": "0"}], "rate", id="a rate of nothing"),
            pytest.param("eur", [{"rate": "1.1234567890123"}], "rate", id="thirteen decimals"),
        ],
    )
    async def test_rates_of_its_own_that_make_no_sense(
        self, bureau: Bureau, code: str, windows: list[Body], field: str
    ) -> None:
        await bureau.rate("1.10", to_currency="eur")
        plan, customer = await bureau.plan(fixed("10")), await bureau.payer(code)
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        refused = await bureau.account.post("/subscriptions", {**body, "fx_rates": windows}, expect=400)
        assert any(field in name for name in refused["details"])

    async def test_fx6_a_draft_takes_the_rate_of_its_finalization_and_so_does_a_successor(self, bureau: Bureau) -> None:
        rate = await bureau.rate("80")
        await bureau.settings(compute_delay_seconds=0, finalization_delay_seconds=3600)
        subscription = await opened(bureau, await bureau.plan(fixed("10", **ARREAR)), await bureau.payer())
        await bureau.run("2026-04-01")
        (draft,) = await bureau.issued(subscription)
        assert (draft["currency"], draft["total"], draft["fx_conversion"]["rate"]) == ("usd", "10", "80")
        assert "converted_at" not in draft["fx_conversion"]
        await bureau.account.put(f"/forex/{rate['id']}", {"rate": "90"})
        await bureau.run("2026-04-02")
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["currency"], invoice["total"]) == ("inr", "900")
        await bureau.account.put(f"/forex/{rate['id']}", {"rate": "95"})
        answer = await bureau.account.post(f"/invoices/{invoice['id']}/recalculate", {}, expect=202)
        successor = await bureau.account.get(f"/invoices/{answer['run_id']}")
        assert (successor["currency"], successor["total"]) == ("inr", "950")
        assert (await bureau.account.get(f"/invoices/{invoice['id']}"))["fx_conversion"]["rate"] == "90"
        await bureau.require_sound()

    async def test_what_is_foretold_is_what_is_issued(self, bureau: Bureau) -> None:
        await bureau.rate()
        customer = await bureau.payer()
        plan = await bureau.plan(bureau.usage(await bureau.feature(), "0.333"), fixed("7.77"))
        subscription = await opened(bureau, plan, customer)
        await bureau.used("calls", customer, 7, "2026-03-10")
        preview = await bureau.account.post("/invoices/preview", {"subscription_id": subscription["id"]}, expect=200)
        assert preview["currency"] == "usd"
        await bureau.run("2026-04-01")
        invoice = (await bureau.issued(subscription))[-1]
        assert invoice["fx_conversion"]["source"] == preview["fx_conversion"]["source"]
        assert invoice["fx_conversion"]["rate"] == preview["fx_conversion"]["rate"]


class TestWithoutARate:
    async def test_nothing_is_sold_that_could_not_be_invoiced(self, bureau: Bureau) -> None:
        customer = await bureau.payer()
        plan = await bureau.plan(fixed("10"))
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
        refused = await bureau.account.post("/subscriptions", body, expect=400)
        assert refused["error"]["message"].startswith("No exchange rate from usd to inr")
        assert (await bureau.account.get("/invoices"))["items"] == []
        found = await bureau.account.post("/subscriptions/search", {}, expect=200)
        assert found["items"] == []

    async def test_a_draft_waits_and_the_others_do_not(self, bureau: Bureau) -> None:
        plan = await bureau.plan(fixed("10", **ARREAR))
        waiting = await opened(bureau, plan, await bureau.payer())
        other = await opened(bureau, plan, await bureau.customer())
        done = await bureau.run("2026-04-01")
        (draft,) = await bureau.issued(waiting)
        (invoice,) = await bureau.issued(other)
        assert (draft["invoice_status"], invoice["invoice_status"]) == ("DRAFT", "FINALIZED")
        assert list(done.without_rate) == [draft["id"]]
        assert done.failed == {}
        refused = await bureau.account.post(f"/invoices/{draft['id']}/finalize", expect=400)
        assert "usd to inr" in refused["error"]["message"]
        await bureau.rate()
        assert (await bureau.run("2026-04-02")).without_rate == {}
        (invoice,) = await bureau.issued(waiting)
        assert (invoice["invoice_status"], invoice["total"]) == ("FINALIZED", "831.25")
        await bureau.require_sound()

    async def test_a_test_clock_goes_on_past_a_draft_that_waits(self, bureau: Bureau) -> None:
        """Not from one microsecond to the next for ever."""
        waiting = await opened(bureau, await bureau.plan(fixed("10", **ARREAR)), await bureau.payer())
        path = f"/environments/{bureau.account.environment_id}/clock"
        moved = await bureau.account.post(path, {"frozen_time": "2026-05-02T00:00:00Z"}, expect=200)
        assert moved["progress"]["finished"] is True
        drafts = await bureau.issued(waiting)
        assert [draft["invoice_status"] for draft in drafts] == ["DRAFT", "DRAFT"]
        reason = "No exchange rate from usd to inr is in force; create one first"
        assert moved["progress"]["waiting_for_rates"] == {draft["id"]: reason for draft in drafts}
        await bureau.rate()
        moved = await bureau.account.post(path, {"frozen_time": "2026-05-02T01:00:00Z"}, expect=200)
        assert "waiting_for_rates" not in moved["progress"]
        assert [draft["invoice_status"] for draft in await bureau.issued(waiting)] == ["FINALIZED", "FINALIZED"]

    async def test_a_trial_that_ends_without_a_rate_leaves_its_invoice_waiting(self, bureau: Bureau) -> None:
        customer = await bureau.customer()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), customer, trial_period_days=14)
        await bureau.account.put(f"/customers/{customer['id']}", {"billing_currency": "inr"})
        done = await bureau.run("2026-03-15")
        assert done.failed == {}
        drafts = [invoice for invoice in await bureau.issued(subscription) if invoice["invoice_status"] == "DRAFT"]
        assert [draft["currency"] for draft in drafts] == ["usd"]
        await bureau.rate()
        await bureau.run("2026-03-16")
        assert (await bureau.issued(subscription))[-1]["total"] == "831.25"
