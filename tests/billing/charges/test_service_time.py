"""What a fee pays for: service time, which pauses stretch and ends cut."""

from __future__ import annotations

import pytest

from tests.billing.counter import Body, cancel, credited, do, open_items, opened, read, seats
from tests.billing.office import Office
from tests.subscriptions.shop import fixed

PRORATES = {"proration_behavior": "create_prorations"}


async def paused_in_april(office: Office, **more: str) -> Body:
    """100 for April, in advance unless said otherwise; paused on the 20th, after 19 of 30 days."""
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100", **more)))
    await office.on("2026-04-20")
    await do(office, made, "pause")
    return made


@pytest.mark.parametrize(
    ("resumed", "cancelled", "credit"),
    [
        pytest.param(None, "2026-04-25", "36.67", id="in the pause"),
        pytest.param(None, "2026-05-05", "36.67", id="in the pause, after the month that was paid"),
        pytest.param("2026-05-10", "2026-05-10", "36.67", id="at once after resuming"),
        pytest.param("2026-05-10", "2026-05-15", "20", id="five service days later"),
        pytest.param("2026-04-25", "2026-05-05", "3.33", id="ten service days later"),
        pytest.param("2026-05-10", "2026-05-20", "3.33", id="a day before the stretched end"),
        pytest.param("2026-05-10T12:00:00", "2026-05-11", "35", id="half a day later"),
    ],
)
async def test_a_pause_consumes_nothing(office: Office, resumed: str | None, cancelled: str, credit: str) -> None:
    made = await paused_in_april(office)
    if resumed is not None:
        await office.on(resumed)
        await do(office, made, "resume")
    await office.on(cancelled)
    answer = await cancel(office, made, **PRORATES)
    assert answer["total_credit_amount"] == credit


async def test_a_seat_after_a_pause_costs_for_the_service_time_that_is_left(office: Office) -> None:
    made = await paused_in_april(office)
    await office.on("2026-05-10")
    await do(office, made, "resume")
    (item,) = await open_items(office, made)
    await seats(office, made, item, 2)
    # 73.33 for two less 36.67 for one: both sides are rounded before they are netted
    assert (await office.totals())[-1] == "36.66"
    await office.on("2026-05-15")
    assert (await cancel(office, made, **PRORATES))["total_credit_amount"] == "40"


async def test_in_arrear_a_pause_charges_nothing(office: Office) -> None:
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100", invoice_cadence="ARREAR")))
    await office.on("2026-04-10")
    await do(office, made, "pause")
    await office.on("2026-04-20")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", **PRORATES)
    assert await office.totals() == ["30.00"]


@pytest.mark.parametrize(
    ("behavior", "given"),
    [pytest.param("create_prorations", ["50"], id="prorates"), pytest.param("none", [], id="is whole")],
)
async def test_an_end_that_was_announced_credits_when_it_takes_effect(
    office: Office, behavior: str, given: list[str]
) -> None:
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100")))
    await office.on("2026-04-05")
    await cancel(office, made, "scheduled_date", cancel_at="2026-04-16T00:00:00Z", proration_behavior=behavior)
    assert await credited(office) == []
    await office.run("2026-04-17")
    assert (await read(office, made))["subscription_status"] == "cancelled"
    assert await credited(office) == given


async def test_a_cancellation_that_is_taken_back_leaves_nothing(office: Office) -> None:
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100")))
    await cancel(office, made, "scheduled_date", cancel_at="2026-04-16T00:00:00Z", **PRORATES)
    await office.on("2026-04-10")
    await do(office, made, "uncancel")
    await office.run("2026-05-01")
    assert await credited(office) == []
    assert await office.totals() == ["100.00", "100.00"]


@pytest.mark.parametrize(
    ("behavior", "cadence", "fee"),
    [
        pytest.param("create_prorations", "ADVANCE", "50.00", id="in advance"),
        pytest.param("create_prorations", "ARREAR", "50.00", id="in arrear"),
        pytest.param("none", "ADVANCE", "100.00", id="none: in advance"),
        pytest.param("none", "ARREAR", "100.00", id="none: in arrear"),
    ],
)
async def test_an_end_date_cuts_the_last_fee(office: Office, behavior: str, cadence: str, fee: str) -> None:
    await office.on("2026-04-01")
    plan = await office.plan(fixed("100", invoice_cadence=cadence))
    await opened(office, plan, end_date="2026-04-16T00:00:00Z", proration_behavior=behavior)
    await office.run("2026-04-17")
    assert await office.totals() == [fee]
    assert [amount for amount in await credited(office) if amount != "0"] == []


@pytest.mark.parametrize(
    ("behavior", "fee"),
    [pytest.param("create_prorations", "0.50", id="prorates"), pytest.param("none", "744.00", id="is whole")],
)
async def test_a_draft_that_a_cancellation_shortens_is_computed_again(office: Office, behavior: str, fee: str) -> None:
    await office.settings(finalization_delay_seconds=7200)
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("744")))
    await office.run("2026-05-01")
    await office.on("2026-05-01T00:30:00")
    await cancel(office, made, proration_behavior=behavior)
    await office.run("2026-05-02")
    assert (await office.totals())[1:] == [fee]


@pytest.mark.parametrize(
    ("later", "given"),
    [
        pytest.param("2026-04-10", ["20", "20"], id="three days later"),
        pytest.param("2026-04-13", ["20", "10"], id="six"),
    ],
)
async def test_seats_up_to_an_announced_end_are_worth_the_time_that_they_paid_for(
    office: Office, later: str, given: list[str]
) -> None:
    """Two seats from the 7th to the 16th cost 60, of which one is given up: the days after the end were never paid."""
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100")))
    await office.on("2026-04-06")
    await cancel(office, made, "scheduled_date", cancel_at="2026-04-16T00:00:00Z", **PRORATES)
    for day, quantity in (("2026-04-07", 2), (later, 1)):
        await office.on(day)
        newest = max((await read(office, made))["line_items"], key=lambda item: item["start_date"])
        await seats(office, made, newest, quantity)
    assert await credited(office) == given
