"""Usage of the time in which a subscription was invoiced with its parent, that comes after it was released."""

from __future__ import annotations

from decimal import Decimal

from tests.billing.corrections.correcting import correct, faults, january, preview, sell, void
from tests.billing.counter import modify
from tests.billing.late_usage.lateness import charging, send
from tests.billing.office import Office
from tests.subscriptions.shop import fixed

HALF = {"name": "half", "coupon_code": "half", "type": "percentage", "percentage_off": "50", "cadence": "forever"}


async def test_what_comes_late_for_a_released_child_goes_to_the_parent_it_had(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await office.account.post("/coupons", HALF)
    customer = await office.customer("child")
    seat = {"plan_id": plan["id"], "external_customer_id": "child", "subscription_coupons": [{"coupon_code": "half"}]}
    parent, _ = await charging(office, plan, inheritance={"grouped_invoicing_children_to_create": [seat]})
    for number in range(4):
        await send(office, customer, f"e{number}", "2026-01-05")
    await office.run("2026-02-01")
    invoice = await january(office, parent)
    found = await office.account.post("/subscriptions/search", {"parent_subscription_ids": [parent.id]}, 200)
    (child,) = found["items"]
    await office.on("2026-02-10")
    await modify(office, {"id": parent.id}, "grouped_invoicing", action="remove", child_subscription_ids=[child["id"]])
    await send(office, customer, "late0", "2026-01-06")
    await send(office, customer, "late1", "2026-01-07")
    assert (await preview(office, invoice))["difference"] == "2"
    await office.run("2026-03-01")
    february = (await office.invoices(parent))[-1]
    (row,) = [row for row in await office.rows(february) if row.late_for_line_id is not None]
    assert (row.amount, row.charge_discount, row.subscription_id) == (2, 1, child["id"])
    assert row.shown_metadata["child_customer_id"] == customer["id"]
    assert (await preview(office, invoice))["difference"] == "0"
    await void(office, "e0", "late0", "late1")
    assert (await correct(office, invoice))["total_amount"] == "1.5"
    assert await faults(office, await office.invoices()) == []


async def test_what_a_child_used_before_it_was_grouped_is_charged_at_once(office: Office) -> None:
    parent = await office.subscribed(await office.plan(fixed("9")), await office.customer())
    subscription, customer = await sell(office, count=3)
    invoice = await january(office, subscription)
    await modify(office, {"id": subscription.id}, "grouped_invoicing", action="add", parent_subscription_id=parent.id)
    await send(office, customer, "late", "2026-01-20")
    made = await correct(office, invoice, "next_invoice")
    charged = await office.account.get(f"/invoices/{made['charged_invoice_id']}")
    assert (charged["invoice_type"], Decimal(charged["total"])) == ("ONE_OFF", 1)
    assert (await preview(office, invoice))["difference"] == "0"
    assert await faults(office, await office.invoices()) == []


async def test_what_a_child_used_of_its_commitment_with_its_parent_counts_when_it_is_released(office: Office) -> None:
    calls = await office.feature("calls", type="SUM", field="n")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer("child")
    quarter = {"commitment_amount": "10", "overage_factor": "2", "commitment_duration": "QUARTERLY"}
    seat = {"plan_id": plan["id"], "external_customer_id": "child", **quarter, "enable_true_up": True}
    parent, _ = await charging(office, plan, inheritance={"grouped_invoicing_children_to_create": [seat]})
    found = await office.account.post("/subscriptions/search", {"parent_subscription_ids": [parent.id]}, 200)
    child = found["items"][0]["id"]
    await send(office, customer, "january", "2026-01-05", n=8)
    await office.run("2026-02-01")
    await modify(office, {"id": parent.id}, "grouped_invoicing", action="remove", child_subscription_ids=[child])
    await send(office, customer, "february", "2026-02-05", n=5)
    await office.run("2026-03-01")
    february = next(invoice for invoice in await office.invoices() if invoice.subscription_id == child)
    # two are within what January has left of ten, and three cost twice
    assert february.total == 8
    await void(office, "february")
    assert (await correct(office, february))["total_amount"] == "8"
    await send(office, customer, "late", "2026-02-06", n=1)
    await office.run("2026-04-01")
    march = [invoice for invoice in await office.invoices() if invoice.subscription_id == child][-1]
    assert march.total == 2
    assert await faults(office, await office.invoices()) == []
