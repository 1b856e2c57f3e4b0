"""The worked invoices of the billing rules, through the whole engine."""

from __future__ import annotations

from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def test_i1_an_advance_fee_and_usage(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 1000, "2026-01-20")
    await office.run("2026-02-01")
    assert await office.billed(subscription) == [
        ("CREATE", "01-01..02-01", "50.00"),
        ("CYCLE", "01-01..02-01", "70.00"),
    ]


async def test_i2_three_cadences_in_arrear(office: Office) -> None:
    plan = await office.plan(fixed("10", **ARREAR))
    quarter = await office.addon(fixed("100", billing_period="QUARTERLY", **ARREAR), key="q")
    half = await office.addon(fixed("200", billing_period="HALF_YEARLY", **ARREAR), key="h")
    addons = [{"addon_id": quarter["id"]}, {"addon_id": half["id"]}]
    subscription = await office.subscribed(plan, addons=addons)
    await office.run("2027-01-01")
    wanted = ["10", "10", "110", "10", "10", "310", "10", "10", "110", "10", "10", "310"]
    assert await office.totals(subscription) == [f"{amount}.00" for amount in wanted]


async def test_i3_a_month_a_quarter_and_a_year(office: Office) -> None:
    plan = await office.plan(fixed("20"))
    quarter = await office.addon(fixed("150", billing_period="QUARTERLY", **ARREAR), key="q")
    year = await office.addon(fixed("2400", billing_period="ANNUAL"), key="a")
    addons = [{"addon_id": quarter["id"]}, {"addon_id": year["id"]}]
    subscription = await office.subscribed(plan, addons=addons)
    await office.run("2027-01-01")
    wanted = ["2420", "20", "20", "170", "20", "20", "170", "20", "20", "170", "20", "20", "2570"]
    assert await office.totals(subscription) == [f"{amount}.00" for amount in wanted]


async def test_i4_a_quarter_that_begins_in_mid_month(office: Office) -> None:
    await office.on("2026-01-15")
    plan = await office.plan(fixed("10", **ARREAR))
    quarter = await office.addon(fixed("100", billing_period="QUARTERLY", **ARREAR), key="q")
    subscription = await office.subscribed(plan, addons=[{"addon_id": quarter["id"]}])
    await office.run("2026-05-15")
    assert await office.billed(subscription) == [
        ("CYCLE", "01-15..02-15", "10.00"),
        ("CYCLE", "02-15..03-15", "10.00"),
        ("CYCLE", "03-15..04-15", "110.00"),
        ("CYCLE", "04-15..05-15", "10.00"),
    ]


async def test_i6_no_fee_for_a_period_that_will_not_be(office: Office) -> None:
    await office.on("2026-04-01")
    calls = await office.feature("calls")
    plan = await office.plan(fixed("99"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 100, "2026-04-20")
    await office.on("2026-04-10")
    await office.account.post(
        f"/subscriptions/{subscription.id}/cancel", {"cancellation_type": "end_of_period"}, expect=200
    )
    await office.run("2026-05-01")
    assert await office.billed(subscription) == [
        ("CREATE", "04-01..05-01", "99.00"),
        ("CYCLE", "04-01..05-01", "2.00"),
    ]
    assert (await office.account.get(f"/subscriptions/{subscription.id}"))["subscription_status"] == "cancelled"
    await office.run("2026-09-01")
    assert len(await office.billed(subscription)) == 2


async def test_i7_three_months_missed(office: Office) -> None:
    await office.on("2026-04-01")
    subscription = await office.subscribed(await office.plan(fixed("100", **ARREAR)))
    await office.run("2026-07-03")
    assert await office.billed(subscription) == [
        ("CYCLE", "04-01..05-01", "100.00"),
        ("CYCLE", "05-01..06-01", "100.00"),
        ("CYCLE", "06-01..07-01", "100.00"),
    ]
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    assert read["current_period_start"] == "2026-07-01T00:00:00Z"


async def test_i8_a_year_in_advance(office: Office) -> None:
    plan = await office.plan(fixed("1200", billing_period="ANNUAL"))
    subscription = await office.subscribed(plan, billing_period="ANNUAL")
    await office.run("2026-12-31")
    assert await office.billed(subscription) == [("CREATE", "01-01..01-01", "1200.00")]


async def test_p22_a_first_calendar_period_is_prorated_once(office: Office) -> None:
    await office.on("2026-01-15")
    plan = await office.plan(fixed("100"))
    subscription = await office.subscribed(plan, billing_cycle="calendar", proration_behavior="create_prorations")
    await office.run("2026-03-01")
    assert await office.billed(subscription) == [
        ("CREATE", "01-15..02-01", "54.84"),
        ("CYCLE", "01-15..02-01", "100.00"),
        ("CYCLE", "02-01..03-01", "100.00"),
    ]


async def test_a_first_calendar_period_without_proration_is_charged_in_full(office: Office) -> None:
    await office.on("2026-01-15")
    subscription = await office.subscribed(await office.plan(fixed("100")), billing_cycle="calendar")
    assert await office.totals(subscription) == ["100.00"]


async def test_v1_versions_in_arrear_are_charged_by_time(office: Office) -> None:
    await office.on("2026-04-01")
    plan = await office.plan(fixed("100", **ARREAR))
    subscription = await office.subscribed(plan)
    await office.on("2026-04-11")
    item = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"][0]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "130"})
    await office.run("2026-05-01")
    (invoice,) = await office.invoices(subscription)
    assert [amount for _, _, amount in await office.lines(invoice)] == ["33.33", "86.67"]


async def test_t1_a_trial_is_free_and_then_paid_from_its_end(office: Office) -> None:
    await office.on("2026-01-10")
    calls = await office.feature("calls")
    plan = await office.plan(fixed("30"), office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, trial_period_days=14)
    await office.used("calls", customer, 5, "2026-01-12")
    await office.used("calls", customer, 7, "2026-02-12")
    await office.run("2026-02-24")
    assert await office.billed(subscription) == [
        ("TRIAL_START", "01-10..01-24", "0.00"),
        ("TRIAL_END", "01-24..02-24", "30.00"),
        ("CYCLE", "01-24..02-24", "37.00"),
    ]
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    assert read["subscription_status"] == "active"


async def test_z1_a_pause_moves_the_period_and_its_usage_is_free(office: Office) -> None:
    await office.on("2026-04-01")
    calls = await office.feature("calls")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for day, count in (("2026-04-05", 2), ("2026-04-12", 50), ("2026-04-20", 3)):
        await office.used("calls", customer, count, day)
    await office.on("2026-04-10")
    await office.account.post(f"/subscriptions/{subscription.id}/pause", {}, expect=200)
    await office.run("2026-04-14")
    await office.on("2026-04-15")
    await office.account.post(f"/subscriptions/{subscription.id}/resume", {}, expect=200)
    await office.run("2026-05-06")
    assert await office.billed(subscription) == [
        ("CREATE", "04-01..05-01", "10.00"),
        ("CYCLE", "04-01..05-06", "15.00"),
    ]


async def test_h1_grouped_seats_are_on_the_parents_opening(office: Office) -> None:
    seats = []
    for amount in ("10", "20"):
        child = await office.customer()
        seats.append(
            {"plan_id": (await office.plan(fixed(amount)))["id"], "external_customer_id": child["external_id"]}
        )
    subscription = await office.subscribed(
        await office.plan(fixed("100")), inheritance={"grouped_invoicing_children_to_create": seats}
    )
    (opening,) = await office.invoices()
    assert sorted(amount for _, _, amount in await office.lines(opening)) == ["10", "100", "20"]
    assert opening.subscription_id == subscription.id
    assert f"{opening.subtotal:.2f}" == "130.00"
    await office.run("2026-02-01")
    assert await office.totals() == ["130.00", "130.00"]


async def test_d27_a_last_period_is_billed_and_then_it_ends(office: Office) -> None:
    await office.on("2025-05-30")
    plan = await office.plan(fixed("9", billing_period="QUARTERLY", **ARREAR))
    subscription = await office.subscribed(plan, billing_period="QUARTERLY", end_date="2026-05-30T00:00:00Z")
    await office.run("2026-05-28T15:00")
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    assert (read["subscription_status"], read["current_period_end"]) == ("active", "2026-05-30T00:00:00Z")
    await office.run("2026-05-30")
    assert [period for _, period, _ in await office.billed(subscription)] == [
        "05-30..08-30",
        "08-30..11-30",
        "11-30..02-28",
        "02-28..05-30",
    ]
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    assert read["subscription_status"] == "cancelled"
