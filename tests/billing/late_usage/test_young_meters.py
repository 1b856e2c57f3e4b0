"""A meter that comes after its events: nothing is charged by it before it counts all of them."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.billing.clock.advance import Clockwork
from farthing.doctor.examination import audit
from farthing.events.upkeep import backfill
from tests.billing.late_usage.lateness import send, settled, watched
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed


@pytest.fixture
def many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is stored is too much to be counted when a meter is made."""
    monkeypatch.setattr(backfill, "MOST_AT_ONCE", 0)


async def started(office: Office, *, late_usage_policy: str = "report") -> tuple[Any, dict[str, Any]]:
    """Five calls, then their meter, then a subscription that pays 3 each from the first of January."""
    await office.settings(late_usage_policy=late_usage_policy)
    customer = await office.customer()
    await office.used("calls", customer, 5, "2026-01-10")
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "3"), fixed("1"))
    return await office.subscribed(plan, customer), customer


async def test_few_events_are_counted_when_the_meter_is_made(office: Office) -> None:
    subscription, _ = await started(office)
    await Clockwork(office.account.database, office.account.scope).move(at("2026-02-01"))
    assert await office.totals(subscription) == ["1.00", "16.00"]
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


@pytest.mark.usefixtures("many_events")
async def test_a_clock_waits_for_a_long_backfill(office: Office) -> None:
    subscription, _ = await started(office)
    await Clockwork(office.account.database, office.account.scope).move(at("2026-02-01"))
    assert await office.totals(subscription) == ["1.00", "16.00"]
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


@pytest.mark.usefixtures("many_events")
async def test_the_run_leaves_what_waits_and_does_the_rest(office: Office) -> None:
    subscription, _ = await started(office)
    other = await office.subscribed(await office.plan(fixed("7")))
    done = await office.run("2026-02-01")
    assert (done.waiting, done.failed) == ({subscription.id}, {})
    assert (await office.totals(subscription), await office.totals(other)) == (["1.00"], ["7.00", "7.00"])
    await settled(office)
    done = await office.run()
    assert (done.waiting, done.failed) == (set(), {})
    assert await office.totals(subscription) == ["1.00", "16.00"]


@pytest.mark.usefixtures("many_events")
async def test_a_cancellation_waits_as_well(office: Office) -> None:
    subscription, _ = await started(office)
    await office.on("2026-01-20")
    cancel = {
        "cancellation_type": "immediate",
        "proration_behavior": "create_prorations",
        "cancel_immediately_inovice_policy": "generate_invoice",
    }
    path = f"/subscriptions/{subscription.id}/cancel"
    answer = await office.account.post(path, cancel, expect=400)
    assert "meter_ids" in answer["details"]
    await settled(office)
    await office.account.post(path, cancel, expect=200)
    assert sorted(await office.totals(subscription)) == ["1.00", "15.00"]


async def test_what_comes_late_for_a_young_meter_is_late_usage(office: Office) -> None:
    """Nothing was filled in after the invoice, so what came since is late, whatever else is in flight in the server."""
    await office.settings(late_usage_policy="next_invoice")
    customer = await office.customer()
    async with office.account.transaction() as in_flight:  # holds every watermark back
        connection = await in_flight.connection()
        await connection.exec_driver_sql("SELECT pg_current_xact_id()")
        calls = await office.feature("calls")
        subscription = await office.subscribed(await office.plan(office.usage(calls, "3")), customer)
        await send(office, customer, "in time", "2026-01-03")
        await office.run("2026-02-01")
        await send(office, customer, "late", "2026-01-05")
        (january,) = await office.invoices(subscription)
        assert await watched(office, january) == ["1"]
        assert await watched(office, january, "not_charged") == [None]
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["3.00", "3.00"]


async def test_a_meter_made_beside_arriving_events_misses_none(office: Office) -> None:
    customer = await office.customer()
    for _ in range(5):
        await office.used("calls", customer, 2, "2026-01-10")
    calls = await office.feature("calls")
    for _ in range(5):
        await office.used("calls", customer, 3, "2026-01-11")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    assert (await office.previewed(subscription))[0] == "25.00"
