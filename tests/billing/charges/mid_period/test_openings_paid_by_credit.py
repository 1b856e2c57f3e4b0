"""An opening that the credit of the plan before has paid altogether comes to nothing, and pays for its fee.

Rule: docs/rules/proration.md#what-stands-behind-a-fee
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from tests.billing.counter import Body, cancel, credited, do, open_items, opened, seats
from tests.billing.office import Office
from tests.billing.proof.proving import find_faults
from tests.subscriptions.shop import fixed

PRORATED = {"proration_behavior": "create_prorations"}
REPLACING = {**PRORATED, "billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}

Step = Callable[[Office, Body, Body], Awaitable[object]]
"""What happens to the new subscription in the middle of its first month; the last is a plan of 50."""


async def ends(office: Office, made: Body, plan: Body) -> None:
    await cancel(office, made, **PRORATED)


async def is_replaced(office: Office, made: Body, plan: Body) -> None:
    await do(office, made, "change/execute", {"target_plan_id": plan["id"], **REPLACING})


async def changes_in_place(office: Office, made: Body, plan: Body) -> None:
    await do(office, made, "change/v2/execute", {"target_plan_id": plan["id"], **PRORATED})


async def gets_a_second_seat(office: Office, made: Body, plan: Body) -> None:
    (item,) = await open_items(office, made)
    await seats(office, made, item, 2)


@pytest.mark.parametrize("price", ["100", "200"], ids=["credit left over", "paid to the cent"])
@pytest.mark.parametrize(
    ("step", "owed"),
    [
        pytest.param(ends, "0", id="half the month comes back"),
        pytest.param(is_replaced, "50", id="half the month pays for the next plan"),
        pytest.param(changes_in_place, "25", id="half a month of the plan in place"),
        pytest.param(gets_a_second_seat, None, id="one seat more for half the month"),
    ],
)
async def test_what_a_credit_paid_for_is_worth_as_much(
    office: Office, step: Step, owed: str | None, price: str
) -> None:
    """A plan of 300 for ten days of April; from the 11th one of `price`, for which nothing is invoiced; half of that
    month is had, and then what `owed` says: two seats cost the whole price for its other half."""
    await office.on("2026-04-01")
    old = await opened(office, await office.plan(fixed("300")))
    await office.on("2026-04-11")
    plan = await office.plan(fixed(price), name="Second")
    change = {"target_plan_id": plan["id"], **REPLACING}
    made = (await do(office, old, "change/execute", change))["new_subscription"]
    await office.on("2026-04-26")
    await step(office, made, await office.plan(fixed("50"), name="Third"))
    received = sum(map(Decimal, await office.totals())) - sum(map(Decimal, await credited(office)))
    assert received == 100 + Decimal(price) / 2 + Decimal(owed or price)
    assert await find_faults(office) == []
