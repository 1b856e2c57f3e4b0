"""What measuring may cost, and that one tenant's arithmetic does not keep another waiting."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from farthing.catalogue.products.meters import MOST_COST_PER_EVENT_NAME
from farthing.core.event_loop import slices
from farthing.metering.expression import MAX_COST, parse
from tests.account import Account
from tests.events.counter import NAME, new_meter, send, sent, usage


def meter(expression: str | None = None, **given: Any) -> dict[str, Any]:
    aggregation = {"type": "SUM", **({"expression": expression} if expression else {"field": "x"})}
    return {"name": "m", "event_name": NAME, "aggregation": aggregation, "reset_usage": "BILLING_PERIOD", **given}


DEAREST = "pow(x, y) + pow(y, x)"


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        pytest.param("x", 1, id="a property"),
        pytest.param("x + y * 2", 5, id="operators"),
        pytest.param("pow(x, 0.5)", 402, id="a root by pow"),
        pytest.param("pow(x, 2)", 10, id="a square"),
        pytest.param("pow(x, -3)", 11, id="a whole negative power"),
        pytest.param("pow(x, 1e6000)", 402, id="an enormous power"),
        pytest.param("x > 0 ? log(x) : sqrt(y)", 114, id="both branches"),
        pytest.param(DEAREST, 805, id="the dearest"),
    ],
)
def test_what_an_expression_costs(expression: str, cost: int) -> None:
    assert parse(expression).cost == cost


async def test_an_expression_that_costs_too_much_is_refused(account: Account) -> None:
    refused = await account.post("/meters", meter("+".join(["pow(x, y)"] * 40)), expect=400)
    assert f"may cost {MAX_COST}" in refused["details"]["aggregation.expression"]
    feature = {"name": "f", "lookup_key": "f", "type": "metered", "meter": meter("+".join(["log(x)"] * 10))}
    refused = await account.post("/features", feature, expect=400)
    assert "aggregation.expression" in str(refused["details"])


async def test_all_expressions_of_an_event_name_cost_no_more_than_a_bound(account: Account) -> None:
    allowed = MOST_COST_PER_EVENT_NAME // (parse(DEAREST).cost + 1)
    for _ in range(allowed):
        await account.post("/meters", meter(DEAREST))
    refused = await account.post("/meters", meter(DEAREST), expect=400)
    assert f"may cost {MOST_COST_PER_EVENT_NAME}" in refused["details"]["aggregation.expression"]
    await account.post("/meters", meter())
    await account.post("/meters", meter(DEAREST, event_name="another"))


async def test_a_meter_of_before_the_bounds_keeps_measuring(account: Account) -> None:
    older = await new_meter(account, expression="x")
    before = "+".join([DEAREST] * 20)
    assert parse(before).cost > MAX_COST
    async with account.transaction() as session:
        changed = text("UPDATE meters SET expression = :expression WHERE id = :id")
        await session.execute(changed, {"expression": before, "id": older})
    await account.post("/meters", meter(event_name="another"))  # whoever remembers meters reads them anew
    await send(account, [sent("10:00", x=2, y=3)])
    assert Decimal((await usage(account, older, "09:00", "11:00"))["value"]) == 20 * (2**3 + 3**2)


async def test_an_event_name_has_a_number_of_meters_even_when_they_come_at_once(account: Account) -> None:
    async with account.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO settings (id, tenant_id, environment_id, key, value, status, created_at, updated_at, "
                "created_by, updated_by) VALUES (:id, :tenant, '', 'tenant_config', "
                "'{\"max_meters_per_event_name\": 3}', 'published', now(), now(), '', '')"
            ),
            {"id": f"setting_{account.tenant_id[7:]}", "tenant": account.tenant_id},
        )
    answers = await asyncio.gather(*(account.http.post("/meters", json=meter()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [400] * 3
    refused = next(answer for answer in answers if answer.status_code == 400)
    assert refused.json()["details"] == {"event_name": "has 3 meters, and may have at most 3"}


STEP_SECONDS = 0.0005


async def test_slices_alternate_between_owners_and_leave_turns_to_the_loop() -> None:
    finished: list[str] = []

    def busy(seconds: float) -> Any:
        for _ in range(round(seconds / STEP_SECONDS)):
            # what others do on this machine meanwhile is not counted; each thread has a clock of its own, so that one
            # that is read in a step may only be compared in that step
            end = time.thread_time() + STEP_SECONDS
            while time.thread_time() < end:
                pass
            yield None

    async def compute(owner: str, seconds: float) -> None:
        await slices.collect(busy(seconds), owner)
        finished.append(owner)

    await asyncio.gather(compute("heavy", 0.4), compute("heavy", 0.4), compute("light", 0.02))
    assert finished == ["light", "heavy", "heavy"]


async def test_another_tenant_is_answered_while_one_ingests_at_the_dearest(account: Account, stranger: Account) -> None:
    """The longest answer of the other is a small part of what the heavy batch takes."""
    for _ in range(MOST_COST_PER_EVENT_NAME // (parse(DEAREST).cost + 1)):
        await account.post("/meters", meter(DEAREST))
    await account.post("/events", sent("10:00", "warm", x="1.5", y="2.5"), expect=202)
    await stranger.post("/events", sent("10:00", "warm"), expect=202)
    events = [sent("10:00", f"e{n}", x=f"{n % 90 + 2}.7234567891234567", y="12.345678912345678") for n in range(1000)]

    async def heavy() -> float:
        began = time.perf_counter()
        assert (await account.http.post("/events/bulk", json={"events": events})).status_code == 202
        return time.perf_counter() - began

    ingesting = asyncio.create_task(heavy())
    waits: list[float] = []
    while not ingesting.done():
        began = time.perf_counter()
        await stranger.post("/events", sent("10:00", f"s{len(waits)}"), expect=202)
        waits.append(time.perf_counter() - began)
    assert len(waits) >= 5, "the other tenant was served meanwhile"
    assert sorted(waits)[len(waits) // 2] < await ingesting / 5
