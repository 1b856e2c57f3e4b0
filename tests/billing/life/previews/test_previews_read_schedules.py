"""The preview of the next invoice is what the run will make, with everything that is scheduled until then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.billing.counter import Body, cancel, do, open_items, opened
from tests.billing.life.families import grouped, seat
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

Change = Callable[[Office, Body, Body], Awaitable[object]]
"""What is scheduled for a subscription; the last is the plan it may change to."""


async def nothing(office: Office, made: Body, plan: Body) -> None:
    """The subscription goes on as it is."""


async def changes_in_place(office: Office, made: Body, plan: Body) -> None:
    change = {"target_plan_id": plan["id"], "proration_behavior": "none", "change_at": "end_of_period"}
    await do(office, made, "change/v2/execute", change)


async def is_replaced(office: Office, made: Body, plan: Body) -> None:
    change = {"target_plan_id": plan["id"], "proration_behavior": "none", "change_at": "end_of_period"}
    replaced = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    await do(office, made, "change/execute", {**change, **replaced})


async def ends_with_the_period(office: Office, made: Body, plan: Body) -> None:
    await cancel(office, made, "end_of_period")


async def ends_on_a_date(office: Office, made: Body, plan: Body) -> None:
    await cancel(office, made, "scheduled_date", cancel_at="2026-01-20T00:00:00Z")


async def gets_seats(office: Office, made: Body, plan: Body) -> None:
    seat = next(item for item in await open_items(office, made) if item["invoice_cadence"] == "ADVANCE")
    change = {"quantity": "3", "effective_from": "2026-02-01T00:00:00Z"}
    await office.account.put(f"/subscriptions/lineitems/{seat['id']}", {"amount": "70", **change})


@pytest.mark.parametrize(
    "change", [nothing, changes_in_place, is_replaced, ends_with_the_period, ends_on_a_date, gets_seats]
)
@pytest.mark.parametrize("asks_for_dates", [False, True], ids=["next invoice", "dates of the open period"])
async def test_the_preview_is_what_the_run_makes(office: Office, change: Change, asks_for_dates: bool) -> None:
    plan = await office.plan(fixed("100"), fixed("30", **ARREAR), name="Small")
    made = await opened(office, plan)
    await change(office, made, await office.plan(fixed("200"), fixed("50", **ARREAR), name="Large"))
    read = await office.account.get(f"/subscriptions/{made['id']}")
    dates = {"period_start": read["current_period_start"], "period_end": read["current_period_end"]}
    body = {"subscription_id": made["id"], **(dates if asks_for_dates else {})}
    shown = await office.account.post("/invoices/preview", body, expect=200)
    before = len(await office.invoices())
    await office.run("2026-02-01")
    made_invoices = await office.invoices()
    renewal = next(row for row in made_invoices if row.billing_reason == "SUBSCRIPTION_CYCLE")
    assert before == 1, "a preview leaves nothing behind"
    assert (shown["total"], shown["due_date"]) == (f"{renewal.total:f}".rstrip("0").rstrip("."), shown["due_date"])
    assert len(shown["line_items"]) == len(await office.lines(renewal))


async def test_the_preview_of_a_trial_has_the_period_that_follows_it(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("100")), trial_period_days=14)
    shown = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, expect=200)
    assert (shown["total"], shown["period_start"], shown["period_end"]) == (
        "100",
        "2026-01-15T00:00:00Z",
        "2026-02-15T00:00:00Z",
    )


async def test_the_last_invoice_of_a_family_that_is_to_be_replaced_has_its_children(office: Office) -> None:
    calls, one = await office.feature("calls"), await office.customer("one")
    small = await office.plan(fixed("100"), office.usage(calls, "1"))
    parent, _ = await grouped(office, small, seat(await office.plan(fixed("10"), office.usage(calls, "3")), one))
    await office.used("calls", one, 4, "2026-01-05")
    await is_replaced(office, parent, await office.plan(fixed("200"), name="Large"))
    shown = await office.account.post("/invoices/preview", {"subscription_id": parent["id"]}, expect=200)
    await office.run("2026-02-01")
    last = next(row for row in await office.invoices() if row.billing_reason == "PRORATION")
    assert (shown["total"], f"{last.total:.2f}", shown["invoice_status"]) == ("12", "12.00", "DRAFT")
    assert await office.totals() == ["110.00", "12.00", "210.00"]


@pytest.mark.parametrize("proration", ["none", "create_prorations"])
async def test_an_ended_subscription_owes_its_commitment_once(office: Office, proration: str) -> None:
    calls = await office.feature("calls")
    committed: Body = {"commitment_amount": "50", "overage_factor": "2", "enable_true_up": True}
    made = await opened(office, await office.plan(fixed("100"), office.usage(calls, "1")), **committed)
    await office.on("2026-01-11")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", proration_behavior=proration)
    last = {"none": "50.00", "create_prorations": "16.13"}[proration]
    assert sorted(await office.totals()) == sorted(["100.00", last])
    shown = await office.account.post(
        "/invoices/preview?exclude_invoiced=true", {"subscription_id": made["id"]}, expect=200
    )
    assert shown["total"] == "0"
