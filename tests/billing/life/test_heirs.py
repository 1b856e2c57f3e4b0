"""Children that join, leave, or stay when the plan of their parent is replaced: each use is charged once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.counter import (
    Body,
    cancel,
    do,
    modify,
    opened,
    read,
)
from tests.billing.life.families import grouped, seat
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def _heir_of(office: Office, *, standalone: bool) -> tuple[Body, Body, Body]:
    """An heir who uses 3 on 5 January under a family or alone, and joins another one on the 16th."""
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    heir = await office.customer("heir")
    inherit = {"external_customer_ids_to_inherit_subscription": ["heir"]}
    first = await (opened(office, plan, heir) if standalone else opened(office, plan, inheritance=inherit))
    second = await opened(office, plan)
    await office.used("calls", heir, 3, "2026-01-05")
    await office.on("2026-01-16")
    if standalone:
        await cancel(office, first, cancel_immediately_invoice_policy="generate_invoice")
    else:
        params: dict[str, Any] = {"action": "remove", "external_customer_ids_to_remove": ["heir"]}
        await modify(office, first, "inheritance", **params)
    return heir, first, second


@pytest.mark.parametrize("standalone", [True, False], ids=["who stood alone", "of another family"])
@pytest.mark.parametrize("by", ["modification", "subscription"])
async def test_an_heir_who_joins_in_mid_period_is_charged_once(office: Office, standalone: bool, by: str) -> None:
    heir, first, second = await _heir_of(office, standalone=standalone)
    if by == "modification":
        params: dict[str, Any] = {"action": "add", "external_customer_ids_to_inherit_subscription": ["heir"]}
        await modify(office, second, "inheritance", **params)
    else:
        await opened(office, {"id": second["plan_id"]}, heir, inheritance={"parent_subscription_id": second["id"]})
    await office.used("calls", heir, 4, "2026-01-20")
    await office.run("2026-02-01")
    invoices = await office.invoices()
    assert {invoice.subscription_id: f"{invoice.total:f}".rstrip("0").rstrip(".") for invoice in invoices} == {
        first["id"]: "3",
        second["id"]: "4",
    }


async def test_an_heir_who_leaves_and_comes_back_is_charged_for_both_times(office: Office) -> None:
    heir, first, _ = await _heir_of(office, standalone=False)
    await office.used("calls", heir, 50, "2026-01-18")
    await office.on("2026-01-20")
    params: dict[str, Any] = {"action": "add", "external_customer_ids_to_inherit_subscription": ["heir"]}
    await modify(office, first, "inheritance", **params)
    await office.used("calls", heir, 4, "2026-01-25")
    await office.run("2026-02-01")
    assert await office.totals() == ["7.00"]


async def test_what_an_heir_used_before_the_plan_is_replaced_is_charged_by_the_old_one(office: Office) -> None:
    calls, heir = await office.feature("calls"), await office.customer("heir")
    small, large = (
        await office.plan(office.usage(calls, "1")),
        await office.plan(office.usage(calls, "2"), name="Large"),
    )
    inherit = {"external_customer_ids_to_inherit_subscription": ["heir"]}
    parent = await opened(office, small, inheritance=inherit)
    await office.used("calls", heir, 3, "2026-01-05")
    await office.used("calls", heir, 5, "2026-01-25")
    await office.on("2026-01-16")
    await do(office, parent, "change/execute",
             {"target_plan_id": large["id"], "proration_behavior": "create_prorations", "billing_cadence": "RECURRING",
              "billing_period": "MONTHLY", "billing_cycle": "anniversary"})  # fmt: skip
    await office.run("2026-02-16")
    assert sorted(await office.totals()) == ["10.00", "3.00"]


async def test_a_grouped_child_stands_alone_when_the_plan_is_replaced_in_mid_period(office: Office) -> None:
    """It has paid January's fee with its parent; its usage of all January and February's fee are its own invoice."""
    calls, one = await office.feature("calls"), await office.customer("one")
    seats_plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    small, large = await office.plan(fixed("100")), await office.plan(fixed("200"), name="Large")
    parent, (child,) = await grouped(office, small, seat(seats_plan, one))
    await office.used("calls", one, 3, "2026-01-05")
    await office.used("calls", one, 5, "2026-01-25")
    await office.on("2026-01-16")
    terms = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    done = await do(
        office, parent, "change/execute", {"target_plan_id": large["id"], "proration_behavior": "none"} | terms
    )
    assert done["warnings"] == [f"{child['id']} is in the middle of its period and is invoiced by itself"]
    await office.run("2026-02-01")
    assert await office.totals() == ["110.00", "18.00", "200.00"]
    after = await read(office, child)
    assert (after["subscription_type"], after.get("parent_subscription_id")) == ("standalone", None)


async def test_a_grouped_child_goes_along_when_the_plan_is_replaced_at_the_end_of_the_period(office: Office) -> None:
    """The last invoice of the old subscription has its usage, the first of the new one its fee."""
    calls, one = await office.feature("calls"), await office.customer("one")
    seats_plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    small, large = await office.plan(fixed("100")), await office.plan(fixed("200"), name="Large")
    parent, _ = await grouped(office, small, seat(seats_plan, one))
    await office.used("calls", one, 8, "2026-01-05")
    await office.on("2026-01-16")
    terms = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    planned = {"target_plan_id": large["id"], "proration_behavior": "none", "change_at": "end_of_period"}
    await do(office, parent, "change/execute", planned | terms)
    await office.used("calls", one, 5, "2026-02-05")
    await office.run("2026-02-01")
    assert await office.totals() == ["110.00", "8.00", "210.00"]
    await office.run("2026-03-01")
    assert await office.totals() == ["110.00", "8.00", "210.00", "215.00"]
