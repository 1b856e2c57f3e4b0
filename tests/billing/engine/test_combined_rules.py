"""Rules that meet: what one of them says must hold where another one applies as well."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from farthing.doctor.examination import audit
from tests.billing.charges.mid_period.test_unused_time import notes, pay
from tests.billing.collection.test_due_dates import due_dates
from tests.billing.counter import Body, cancel, do, open_items, opened, percent, seats
from tests.billing.late_usage.lateness import settled
from tests.billing.late_usage.test_ownership import rename
from tests.billing.office import Office
from tests.credits.invoicing.test_purchase_tax import taxed_payer, used
from tests.credits.invoicing.test_purchases import pay as pay_purchase
from tests.credits.ledger_desk import LedgerDesk
from tests.subscriptions.shop import fixed

PRORATED = {"proration_behavior": "create_prorations"}


async def sound(office: Office) -> None:
    """What the doctor says of the environment."""
    assert (await audit(office.account.database, only={office.account.environment_id})).differences == []


async def taxed_with(office: Office, customer: Body, value: str) -> None:
    """Let a customer be charged a tax from now on."""
    code = (await office.account.get(f"/taxes/rates/{await LedgerDesk(office.account).tax(value)}"))["code"]
    association = {"tax_rate_code": code, "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True}
    await office.account.post("/taxes/associations", association, 200)


@pytest.mark.parametrize(
    ("pauses", "ends", "amounts"),
    [
        pytest.param([], "2026-04-16", ["3", "47"], id="half of April"),
        pytest.param([("2026-04-11", "2026-04-21")], "2026-04-26", ["3", "47"], id="15 days of service, with a pause"),
        pytest.param([("2026-04-11", None)], "2026-04-26", ["3", "30.33"], id="10 days of service, paused to the end"),
    ],
)
async def test_a_minimum_is_for_the_time_that_was_served(
    office: Office, pauses: list[tuple[str, str | None]], ends: str, amounts: list[str]
) -> None:
    """100 a month as a minimum; 3 are used."""
    calls, customer = await office.feature("calls"), await office.customer()
    await settled(office)
    await office.on("2026-04-01")
    terms: Body = {"commitment_amount": "100", "overage_factor": "1", "enable_true_up": True, **PRORATED}
    made = await opened(office, await office.plan(office.usage(calls, "1")), customer, **terms)
    await office.used("calls", customer, 3, "2026-04-05T10:00")
    for begins, resumes in pauses:
        await office.on(begins)
        await do(office, made, "pause")
        if resumes is not None:
            await office.on(resumes)
            await do(office, made, "resume")
    await office.on(ends)
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", **PRORATED)
    assert [amount for _, _, amount in await office.lines((await office.invoices())[-1])] == amounts
    await sound(office)


async def test_half_years_before_an_anchor_at_the_end_of_a_month(office: Office) -> None:
    """Anchored on 31 August, the half-years end on 28 February and 31 August; the first is cut to 44 of 181 days."""
    await office.on("2026-01-15")
    plan = await office.plan(fixed("600", billing_period="HALF_YEARLY"))
    terms: Body = {"billing_anchor": "2026-08-31T00:00:00Z", "billing_period": "HALF_YEARLY", **PRORATED}
    await opened(office, plan, **terms)
    await office.run("2026-03-01")
    await office.run("2026-09-01")
    assert [(invoice, total) for _, invoice, total in await office.billed()] == [
        ("01-15..02-28", "145.86"),
        ("01-15..02-28", "600.00"),
        ("02-28..08-31", "600.00"),
    ]
    await sound(office)


async def test_the_end_of_the_next_month_is_that_of_the_subscriptions_zone(office: Office) -> None:
    """In Tokyo, what is charged on 31 January at 23:30 is due at the end of February, by the wall there."""
    customer = await office.customer(timezone="Asia/Tokyo")
    await office.on("2025-12-31T15:00")
    made = await opened(office, await office.plan(fixed("10")), customer, payment_terms="END_OF_NEXT_MONTH")
    await office.on("2026-01-31T14:30")
    (seat,) = await open_items(office, made)
    await seats(office, made, seat, 40)
    await office.run("2026-01-31T15:00")
    assert await due_dates(office, made) == [
        ("CREATE", "2026-02-28T14:59:59.999999Z"),
        ("UPDATE", "2026-02-28T14:59:59.999999Z"),
        ("CYCLE", "2026-03-31T14:59:59.999999Z"),
    ]


async def test_the_preview_of_a_scheduled_plan_carries_seats_and_coupons(office: Office) -> None:
    """Five seats of 20 under half off for three months become five of 50: the preview, and what the run makes."""
    await percent(office, "half", "50", cadence="repeated", duration_in_periods=3)
    small = await office.plan(fixed("20", display_name="seats"), name="Small")
    large = await office.plan(fixed("50", display_name="seats"), name="Large")
    made = await opened(office, small, subscription_coupons=[{"coupon_code": "half"}])
    (seat,) = await open_items(office, made)
    await seats(office, made, seat, 5)
    change = {"target_plan_id": large["id"], "change_at": "end_of_period", "proration_behavior": "none"}
    await do(office, made, "change/v2/execute", change)
    shown = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, expect=200)
    assert (shown["subtotal"], shown["total_discount"], shown["total"]) == ("250", "125", "125")
    for month in ("02", "03", "04"):
        await office.run(f"2026-{month}-01")
    renewals = [row for row in await office.invoices() if row.billing_reason == "SUBSCRIPTION_CYCLE"]
    assert [f"{row.total:.2f}" for row in renewals] == ["125.00", "125.00", "250.00"]
    await sound(office)


async def test_a_fixed_tax_goes_back_with_the_time(office: Office) -> None:
    """3.00 on lines of 75 and 25; half-way 50.00 go back, and of the tax 1.13 and 0.38, each rounded once."""
    await office.on("2026-06-01")
    customer = await office.customer()
    await taxed_with(office, customer, "3")
    made = await opened(office, await office.plan(fixed("75"), fixed("25")), customer)
    await pay(office, made, "103")
    await office.on("2026-06-16")
    await cancel(office, made, **PRORATED)
    assert await notes(office) == ["REFUND 50+1.51"]
    await sound(office)


async def test_swapped_names_leave_each_its_quota(office: Office) -> None:
    """10 a day are free to each; what came under a name before it was taken over fills its former owner's window."""
    calls = await office.feature("calls")
    await settled(office)
    plan = await office.plan(office.usage(calls, "1"))
    quota = {"grant_measure": "quantity", "grant_quota": "10", "grant_duration_unit": "day", "grant_duration_value": 1}
    await office.entitle(plan, calls, **quota)
    first, second = await office.customer("one"), await office.customer("two")
    made = [await office.subscribed(plan, customer) for customer in (first, second)]
    for name, count in (("one", 8), ("two", 9)):
        await office.used("calls", {"external_id": name}, count, "2026-01-10T08:00")
    first = await rename(office, first, "between")
    second = await rename(office, second, "one")
    await rename(office, first, "two")
    for name, count in (("one", 4), ("two", 7)):
        await office.used("calls", {"external_id": name}, count, "2026-01-10T20:00")
    await office.run("2026-02-01")
    # 8 and 7 of the first customer, 9 and 4 of the second
    assert [await office.totals(subscription) for subscription in made] == [["5.00"], ["3.00"]]
    await sound(office)


async def test_what_is_cancelled_before_its_start_leaves_nothing(office: Office) -> None:
    """Seats, grants, a tax and a coupon of a subscription from March, cancelled in February."""
    customer = await office.customer()
    await taxed_with(office, customer, "19%")
    await percent(office, "tenth", "10", cadence="forever")
    plan = await office.plan(fixed("100", display_name="seats"))
    grant = {"name": "Credits", "scope": "PLAN", "plan_id": plan["id"], "credits": "50", "cadence": "ONETIME"}
    await office.account.post("/creditgrants", {**grant, "expiration_type": "NEVER"})
    start: Body = {"start_date": "2026-03-01T00:00:00Z", "subscription_coupons": [{"coupon_code": "tenth"}]}
    made = await opened(office, plan, customer, **start)
    await office.on("2026-02-10")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", **PRORATED)
    await office.run("2026-05-01")
    assert await office.invoices() == []
    assert await office.account.get(f"/customers/{customer['id']}/wallets") == []
    async with office.account.transaction(read_only=True) as session:
        became = await session.scalars(text("SELECT application_status FROM credit_grant_applications"))
        assert set(became.all()) == {"cancelled"}
    await sound(office)


async def test_credits_that_were_taxed_come_back_taxed(office: Office) -> None:
    """100 credits are bought for 119, pay 60 of usage and come back with the void: the next 60 are not taxed either."""
    account = office.account
    desk, customer, rate = await taxed_payer(account, "purchase")
    wallet = await desk.wallet(customer)
    bought = await desk.top_up(wallet, "100", transaction_reason="PURCHASED_CREDIT_INVOICED")
    await pay_purchase(account, {"id": bought["invoice_id"]})
    first = await used(desk, customer, rate, "60")
    assert (first["total_tax"], first["total"], await desk.balance(wallet)) == ("0", "0", "40")
    await account.post(f"/invoices/{first['id']}/void", {}, 200)
    assert await desk.balance(wallet) == "100"
    again = await used(desk, customer, rate, "160")
    assert (again["total_prepaid_credits_applied"], again["total_tax"], again["total"]) == ("100", "11.4", "71.4")
    await sound(office)


async def test_a_plan_change_in_place_keeps_one_allowance(office: Office) -> None:
    """Both plans include 100; of 60 calls before the change and 90 after it, 50 are over."""
    calls, customer = await office.feature("calls"), await office.customer()
    await settled(office)
    plans = [await office.plan(office.usage(calls, price), name=name) for name, price in (("A", "1"), ("B", "2"))]
    for plan in plans:
        await office.entitle(plan, calls, usage_limit=100)
    made = await opened(office, plans[0], customer)
    await office.used("calls", customer, 60, "2026-01-05T10:00")
    await office.on("2026-01-16")
    await do(office, made, "change/v2/execute", {"target_plan_id": plans[1]["id"], **PRORATED})
    await office.used("calls", customer, 90, "2026-01-20T10:00")
    await office.run("2026-02-01")
    assert [amount for _, _, amount in await office.lines((await office.invoices())[-1])] == ["0", "100"]
    await sound(office)
