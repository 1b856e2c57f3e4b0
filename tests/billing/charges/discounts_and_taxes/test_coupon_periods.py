"""Coupons discount lines by their own service periods, whatever invoices these stand on."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from farthing.billing.proof.budgets import overdrawn_budgets
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.billing.tables import ProrationSettlement
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from tests.billing.counter import Body, cancel, credited, do, drop, open_items, opened, seats
from tests.billing.late_usage.lateness import settled
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

TEN = {"type": "fixed", "amount_off": "10", "currency": "usd"}
FIFTY = {**TEN, "amount_off": "50"}
HALF = {"type": "percentage", "percentage_off": "50"}
ALL = {"type": "percentage", "percentage_off": "100"}
REPLACING = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}


async def code_of(office: Office, off: dict[str, Any], cadence: str = "forever", periods: int | None = None) -> str:
    """The code of a new coupon."""
    terms = {**off, "cadence": cadence, **({} if periods is None else {"duration_in_periods": periods})}
    code = f"C{len((await office.account.get('/coupons'))['items'])}"
    await office.account.post("/coupons", {"name": code, "coupon_code": code, **terms})
    return code


async def attach(office: Office, subscription: Body, code: str, **dates: str) -> None:
    params = {"action": "add", "coupon_code": code, **dates}
    await do(office, subscription, "modify/execute", {"type": "coupon", "coupon_params": params})


async def figures(office: Office, subscription: Body) -> list[str]:
    """Of each invoice that is not void and not skipped, oldest first: subtotal less discount."""
    return [
        f"{invoice.subtotal:.2f} - {invoice.total_discount:.2f}"
        for invoice in await office.invoices()
        if invoice.subscription_id == subscription["id"]
        and invoice.invoice_status not in {InvoiceStatus.SKIPPED, InvoiceStatus.VOIDED}
    ]


async def discounted_lines(office: Office, subscription: Body) -> list[str]:
    """The lines that are discounted: kind, first day and discount, in order of time."""
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(
            select(InvoiceLineItem).where(
                InvoiceLineItem.subscription_id == subscription["id"],
                InvoiceLineItem.status == "published",
                InvoiceLineItem.line_item_discount + InvoiceLineItem.invoice_level_discount > 0,
            )
        )
        found = [
            (row.period_start, row.price_type, row.line_item_discount + row.invoice_level_discount) for row in rows
        ]
    return [f"{kind} {start:%m-%d} {off:.2f}" for start, kind, off in sorted(found) if start is not None]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        pytest.param({"end_date": "2026-07-01T00:00:00Z"}, ["FIXED 06-01 50.00"], id="until July leaves July alone"),
        pytest.param(
            {"end_date": "2026-07-01T00:00:01Z"},
            ["FIXED 06-01 50.00", "FIXED 07-01 50.00"],
            id="a second more does not",
        ),
        pytest.param(
            {"start_date": "2026-07-01T00:00:00Z"},
            ["FIXED 07-01 50.00", "FIXED 08-01 50.00"],
            id="from July leaves June alone",
        ),
        pytest.param(
            {"start_date": "2026-07-20T00:00:00Z", "end_date": "2026-07-21T00:00:00Z"},
            [],
            id="within a month whose fee was invoiced before",
        ),
    ],
)
async def test_the_window_of_an_association_meets_the_service_of_the_line(
    office: Office, dates: dict[str, str], expected: list[str]
) -> None:
    """The invoice of the renewal is headed June, and its fee is July's."""
    await office.on("2026-05-01")
    made = await opened(office, await office.plan(fixed("100")))
    await office.on("2026-05-15")
    code = await code_of(office, HALF)
    given = {"start_date": "2026-06-01T00:00:00Z", **dates}
    if "end_date" in dates and "start_date" in dates:
        for month in ("06", "07"):
            await office.run(f"2026-{month}-01")
        await office.on("2026-07-19")
    await attach(office, made, code, **given)
    for month in ("06", "07", "08"):
        await office.run(f"2026-{month}-01")
    assert await discounted_lines(office, made) == expected


async def test_a_coupon_for_three_periods_is_for_three_fees_and_the_usage_of_the_same(office: Office) -> None:
    """January's fee was invoiced before; January's usage is of the same period as it."""
    calls, customer = await office.feature("calls"), await office.customer("acme")
    await office.on("2026-01-01")
    made = await opened(office, await office.plan(fixed("100"), office.usage(calls, "1")), customer)
    await office.on("2026-01-10")
    await attach(office, made, await code_of(office, HALF, "repeated", 3))
    for month in range(1, 6):
        await office.used("calls", customer, 4, f"2026-{month:02}-12")
        await office.run(f"2026-{month + 1:02}-01")
    assert await discounted_lines(office, made) == [
        f"{kind} {month}-01 {off}"
        for month in ("02", "03", "04")
        for kind, off in (("FIXED", "50.00"), ("USAGE", "2.00"))
    ]


@pytest.mark.parametrize(
    ("price", "terms", "count"),
    [
        pytest.param(fixed("100"), {}, 2, id="in advance"),
        pytest.param(fixed("100", **ARREAR), {}, 2, id="in arrear"),
        pytest.param(fixed("100"), {"billing_cycle": "calendar"}, 2, id="the first period is a part of a month"),
        pytest.param(fixed("100"), {"trial_period_days": 14}, 2, id="a trial is none of its periods"),
        pytest.param(fixed("300", billing_period="QUARTERLY"), {"billing_period": "QUARTERLY"}, 1, id="a quarter"),
    ],
)
async def test_n_periods_are_n_fees(office: Office, price: dict[str, Any], terms: dict[str, Any], count: int) -> None:
    await office.on("2026-01-10")
    code = await code_of(office, HALF, "repeated", count)
    made = await opened(office, await office.plan(price), subscription_coupons=[{"coupon_code": code}], **terms)
    for month in range(2, 8):
        await office.run(f"2026-{month:02}-28")
    assert len(await discounted_lines(office, made)) == count


async def test_a_pause_stretches_a_period_that_still_counts_once(office: Office) -> None:
    await office.on("2026-01-01")
    code = await code_of(office, HALF, "repeated", 3)
    made = await opened(office, await office.plan(fixed("100")), subscription_coupons=[{"coupon_code": code}])
    await office.on("2026-01-10")
    await do(office, made, "pause", {"pause_mode": "immediate", "resume_mode": "immediate"})
    await office.on("2026-01-20")
    await do(office, made, "resume", {"resume_mode": "immediate"})
    for day in ("02-11", "03-11", "04-11", "05-11"):
        await office.run(f"2026-{day}")
    assert await discounted_lines(office, made) == ["FIXED 01-01 50.00", "FIXED 02-11 50.00", "FIXED 03-11 50.00"]


@pytest.mark.parametrize("way", ["in place", "by a new subscription"])
async def test_periods_that_are_used_up_stay_used_up_over_a_plan_change(office: Office, way: str) -> None:
    await office.on("2026-01-01")
    code = await code_of(office, HALF, "repeated", 3)
    made = await opened(office, await office.plan(fixed("100")), subscription_coupons=[{"coupon_code": code}])
    larger = await office.plan(fixed("200"), name="Large")
    await office.run("2026-02-01")
    await office.on("2026-02-10")
    body = {"target_plan_id": larger["id"], "proration_behavior": "none"}
    subscriptions = [made]
    if way == "in place":
        await do(office, made, "change/v2/execute", body)
    else:
        subscriptions.append((await do(office, made, "change/execute", {**body, **REPLACING}))["new_subscription"])
    for day in ("03-01", "03-10", "04-01", "04-10", "05-10"):
        await office.run(f"2026-{day}")
    assert [len(await discounted_lines(office, subscription)) for subscription in subscriptions] == (
        [3] if way == "in place" else [2, 1]
    )


async def test_a_coupon_for_once_that_was_used_discounts_no_successor(office: Office) -> None:
    await office.on("2026-01-01")
    code = await code_of(office, HALF, "once")
    made = await opened(office, await office.plan(fixed("100")), subscription_coupons=[{"coupon_code": code}])
    larger = await office.plan(fixed("200"), name="Large")
    body = {"target_plan_id": larger["id"], "proration_behavior": "none", **REPLACING}
    await office.on("2026-01-10")
    fresh = (await do(office, made, "change/execute", body))["new_subscription"]
    body["target_plan_id"] = made["plan_id"]
    await office.on("2026-01-20")
    fresher = (await do(office, fresh, "change/execute", body))["new_subscription"]
    assert [len(await discounted_lines(office, subscription)) for subscription in (made, fresh, fresher)] == [1, 0, 0]


@pytest.mark.parametrize("on_line", [False, True])
@pytest.mark.parametrize("cadence", ["forever", "repeated", "once"])
async def test_a_fixed_amount_is_shared_by_the_invoices_of_a_period(
    office: Office, cadence: str, on_line: bool
) -> None:
    """Threshold invoices of 60, and 40 at the end: 90 in all."""
    calls, customer = await office.feature("calls"), await office.customer("acme")
    await office.on("2026-04-01")
    plan = await office.plan(office.usage(calls, "1"))
    code = await code_of(office, TEN, cadence, 1 if cadence == "repeated" else None)
    coupon = {"coupon_code": code, **({"price_id": plan["prices"][0]["id"]} if on_line else {})}
    made = await opened(office, plan, customer, subscription_coupons=[coupon], auto_invoice_threshold="50")
    await office.used("calls", customer, 60, "2026-04-01")
    await office.on("2026-04-02")
    run = Run(office.account.database, office.account.scope, office.now)
    await invoice_thresholds(run, Summary())
    await office.used("calls", customer, 40, "2026-04-20")
    await office.run("2026-05-01")
    assert await figures(office, made) == ["60.00 - 10.00", "40.00 - 0.00"]
    await office.used("calls", customer, 40, "2026-05-20")
    await office.run("2026-06-01")
    assert (await figures(office, made))[-1] == f"40.00 - {10 if cadence == 'forever' else 0}.00"


async def test_a_renewal_draws_on_the_budgets_of_both_of_its_periods(office: Office) -> None:
    """June's fee took 4 of June's 10; June's usage takes the other 6, and July's fee 4 of July's."""
    calls, customer = await office.feature("calls"), await office.customer("acme")
    await office.on("2026-06-01")
    code = await code_of(office, TEN)
    plan = await office.plan(fixed("4"), office.usage(calls, "1"))
    made = await opened(office, plan, customer, subscription_coupons=[{"coupon_code": code}])
    await office.used("calls", customer, 50, "2026-06-10")
    await office.run("2026-07-01")
    assert await discounted_lines(office, made) == ["FIXED 06-01 4.00", "USAGE 06-01 6.00", "FIXED 07-01 4.00"]


async def test_late_usage_draws_on_what_an_item_that_ended_gave_back(office: Office) -> None:
    """April's 10 are spread over two fees of 50; the one that ends half-way gives 2.50 back, for April's late usage."""
    await office.settings(late_usage_policy="next_invoice")
    calls, customer = await office.feature("calls"), await office.customer("acme")
    await office.on("2026-04-01")
    plan = await office.plan(fixed("50"), fixed("50"), office.usage(calls, "1"))
    coupon = {"coupon_code": await code_of(office, TEN)}
    made = await opened(office, plan, customer, subscription_coupons=[coupon])
    await office.on("2026-04-16")
    ended = next(item for item in await open_items(office, made) if item["price_type"] == "FIXED")
    await drop(office, ended, proration_behavior="create_prorations")
    await settled(office)
    await office.run("2026-05-01")
    await office.used("calls", customer, 20, "2026-04-20")
    await settled(office)
    await office.run("2026-06-01")
    assert await figures(office, made) == ["100.00 - 10.00", "50.00 - 10.00", "70.00 - 12.50"]


async def test_a_void_gives_back_what_it_took(office: Office) -> None:
    await office.on("2026-04-01")
    made = await opened(
        office, await office.plan(fixed("50")), subscription_coupons=[{"coupon_code": await code_of(office, TEN)}]
    )
    (opening,) = await office.invoices()
    await office.account.post(f"/invoices/{opening.id}/recalculate", {}, 202)
    assert await figures(office, made) == ["50.00 - 10.00"]


CHANGES = [
    # coupon, cadence, what happens half-way through April, what is invoiced for it (amount and discount of its lines)
    pytest.param(ALL, "forever", "seat", ["50.00 - 50.00"], id="everything is free"),
    pytest.param(HALF, "forever", "seat", ["37.50 - 25.00"], id="a seat at a half"),
    pytest.param(TEN, "forever", "seat", ["30.00 - 5.00"], id="a seat when the amount is used up"),
    pytest.param(HALF, "once", "seat", ["37.50 - 12.50"], id="a seat when the coupon is used up"),
    pytest.param(ALL, "once", "seat", ["50.00 - 25.00"], id="a seat when everything was free once"),
    pytest.param(FIFTY, "forever", "seat", ["50.00 - 25.00"], id="a seat when the amount made all free"),
    pytest.param(FIFTY, "once", "seat", ["50.00 - 25.00"], id="a seat when the amount made all free once"),
    pytest.param(FIFTY, "forever", "plan", ["100.00 - 25.00"], id="a plan when the amount made all free"),
    pytest.param(HALF, "forever", "plan", ["87.50 - 50.00"], id="a plan at a half"),
    pytest.param(TEN, "forever", "plan", ["80.00 - 5.00"], id="a plan when the amount is used up"),
    pytest.param(HALF, "once", "plan", ["87.50 - 0.00"], id="a plan when the coupon is used up"),
    pytest.param(HALF, "forever", "price", ["42.50 - 27.50"], id="a price at a half"),
    pytest.param(HALF, "forever", "addon", ["30.00 - 15.00"], id="an addon at a half"),
    pytest.param(TEN, "forever", "addon", ["30.00 - 0.00"], id="an addon when the amount is used up"),
]


@pytest.mark.parametrize(("off", "cadence", "change", "expected"), CHANGES)
async def test_charges_in_mid_period_are_discounted_before_credits_reduce_them(
    office: Office, off: dict[str, Any], cadence: str, change: str, expected: list[str]
) -> None:
    """A fee of 50, in April, which has 30 days; all happens on the 16th."""
    await office.on("2026-04-01")
    code = await code_of(office, off, cadence)
    made = await opened(office, await office.plan(fixed("50")), subscription_coupons=[{"coupon_code": code}])
    large, extra = await office.plan(fixed("200"), name="Large"), await office.addon(fixed("60"))
    await office.on("2026-04-16")
    (item,) = await open_items(office, made)
    proration = {"proration_behavior": "create_prorations"}
    if change == "seat":
        await seats(office, made, item, 2)
    elif change == "plan":
        await do(office, made, "change/v2/execute", {"target_plan_id": large["id"], **proration})
    elif change == "price":
        await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "110", **proration})
    else:
        body = {"subscription_id": made["id"], "addon_id": extra["id"], **proration}
        await office.account.post("/subscriptions/addon", body, 200)
    assert (await figures(office, made))[1:] == expected


@pytest.mark.parametrize(
    ("off", "cadence", "expected"),
    [(HALF, "forever", "12.5"), (HALF, "once", "12.5"), (TEN, "forever", "20"), (ALL, "forever", "0")],
)
async def test_unused_time_is_worth_what_was_paid_net_of_discount(
    office: Office, off: dict[str, Any], cadence: str, expected: str
) -> None:
    await office.on("2026-04-01")
    code = await code_of(office, off, cadence)
    made = await opened(office, await office.plan(fixed("50")), subscription_coupons=[{"coupon_code": code}])
    await office.on("2026-04-16")
    done = await cancel(office, made, proration_behavior="create_prorations")
    assert done["total_credit_amount"] == expected


async def test_a_credit_greater_than_the_discounted_charge_is_owed(office: Office) -> None:
    """160 paid, 80 of it unused: the new half costs 100 at 50 %, so an invoice of nothing and 30 to be given back."""
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("160")))
    other = await office.plan(fixed("200"), name="Other")
    await office.on("2026-04-16")
    await attach(office, made, await code_of(office, HALF))
    body = {"target_plan_id": other["id"], "proration_behavior": "create_prorations"}
    await do(office, made, "change/v2/execute", body)
    assert (await figures(office, made))[1:] == ["50.00 - 50.00"]
    assert sorted(await credited(office, made)) == ["0", "30"]
    await office.on("2026-04-24")
    (item,) = await open_items(office, made)
    await drop(office, item)
    # what stands behind the fee is the 50 that it cost, and 7 of its 15 days are unused
    assert sorted(await credited(office, made)) == ["0", "23.33", "30"]


@pytest.mark.parametrize(
    ("off", "cadence", "expected"),
    [
        pytest.param(
            TEN, "forever", ["7440.50 - 0.50", "5.00 - 5.00"], id="the final invoice has what the draft leaves"
        ),
        pytest.param(TEN, "once", ["7440.50 - 0.00", "5.00 - 0.00"], id="used by the opening"),
        pytest.param(HALF, "forever", ["7440.50 - 3720.25", "5.00 - 2.50"], id="a percentage has no budget"),
    ],
)
async def test_a_draft_that_an_end_shortens_leaves_its_budget_to_the_final_invoice(
    office: Office, off: dict[str, Any], cadence: str, expected: list[str]
) -> None:
    """744 in advance and 7440 in arrear, cancelled half an hour after the renewal, which is a draft."""
    await office.settings(finalization_delay_seconds=7200)
    await office.on("2026-04-01")
    code = await code_of(office, off, cadence)
    plan = await office.plan(fixed("744"), fixed("7440", **ARREAR))
    made = await opened(office, plan, subscription_coupons=[{"coupon_code": code}])
    await office.run("2026-05-01")
    await office.on("2026-05-01T00:30:00")
    await cancel(
        office, made, proration_behavior="create_prorations", cancel_immediately_invoice_policy="generate_invoice"
    )
    await office.run("2026-05-02")
    assert sorted((await figures(office, made))[1:], reverse=True) == expected


async def test_a_successor_s_credit_pays_its_fee_down_to_the_discount(office: Office) -> None:
    await office.on("2026-04-01")
    code = await code_of(office, HALF)
    made = await opened(office, await office.plan(fixed("50")), subscription_coupons=[{"coupon_code": code}])
    large = await office.plan(fixed("200"), name="Large")
    await office.on("2026-04-16")
    body = {"target_plan_id": large["id"], "proration_behavior": "create_prorations", **REPLACING}
    fresh = (await do(office, made, "change/execute", body))["new_subscription"]
    assert await figures(office, fresh) == ["187.50 - 100.00"]


async def test_the_doctor_names_a_coupon_that_took_more_than_a_period_has(office: Office) -> None:
    await office.on("2026-04-01")
    code = await code_of(office, TEN)
    made = await opened(office, await office.plan(fixed("50")), subscription_coupons=[{"coupon_code": code}])
    await office.on("2026-04-16")
    (item,) = await open_items(office, made)
    await seats(office, made, item, 2)
    async with office.account.transaction() as session:
        assert await overdrawn_budgets(session) == []
        await session.execute(update(ProrationSettlement).values(returned_discounts=[]))
        (overdrawn,) = await overdrawn_budgets(session)
    assert (overdrawn.stored, overdrawn.derived) == ("15", "at most 10")
