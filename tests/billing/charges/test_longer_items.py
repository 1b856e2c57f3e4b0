"""Items longer than the subscription's period: where their own periods begin, and go on."""

from __future__ import annotations

from tests.billing.counter import opened, read, seats
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def test_a_year_that_began_in_a_trial_is_paid_for_from_the_trials_end(office: Office) -> None:
    plan = await office.plan(fixed("20"))
    year = await office.addon(fixed("2400", billing_period="ANNUAL"), key="a")
    quarter = await office.addon(fixed("150", billing_period="QUARTERLY", **ARREAR), key="q")
    await office.on("2026-01-01")
    addons = [{"addon_id": year["id"]}, {"addon_id": quarter["id"]}]
    subscription = await office.subscribed(plan, addons=addons, trial_period_days=14)
    await office.run("2027-01-16")
    assert await office.billed(subscription) == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-15..02-15", "2420.00"),
        *[
            ("CYCLE", f"{month:02}-15..{month % 12 + 1:02}-15", amount)
            for month, amount in zip(
                range(1, 12),
                ["20.00", "20.00", "170.00", "20.00", "20.00", "170.00", "20.00", "20.00", "170.00", "20.00", "20.00"],
                strict=True,
            )
        ],
        ("CYCLE", "12-15..01-15", "2570.00"),
    ]


async def test_a_year_of_more_seats_goes_on_to_its_own_end(office: Office) -> None:
    await office.on("2026-01-01")
    plan = await office.plan(fixed("20"))
    year = await office.addon(fixed("1200", billing_period="ANNUAL"), key="a")
    made = await opened(office, plan, addons=[{"addon_id": year["id"]}])
    (item,) = [
        line_item for line_item in (await read(office, made))["line_items"] if line_item["entity_type"] == "addon"
    ]
    await office.on("2026-07-01")
    await office.run()
    await seats(office, made, item, 2)
    await office.run("2027-01-01")
    billed = [invoice for invoice in await office.billed() if invoice[2] != "20.00"]
    assert billed == [
        ("CREATE", "01-01..02-01", "1220.00"),
        ("UPDATE", "07-01..01-01", "604.93"),
        ("CYCLE", "12-01..01-01", "2420.00"),
    ]
