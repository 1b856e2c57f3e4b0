"""The published client against the doors of billing: what it sends is understood, what it gets it can read."""

from __future__ import annotations

from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def test_a_subscription_lives_and_ends(office: Office) -> None:
    calls = await office.feature("calls")
    plan, other = (
        await office.plan(fixed("50"), office.usage(calls, "0.02")),
        await office.plan(fixed("80"), name="Other"),
    )
    customer = await office.customer()
    client = office.account.sdk()
    made = await client.subscriptions.create_subscription_async(
        customer_id=customer["id"], plan_id=plan["id"], currency="usd", billing_period="MONTHLY"
    )
    assert (made.subscription_status, made.latest_invoice.total) == ("active", "50")
    await office.used("calls", customer, 100, "2026-01-05")
    used = await client.subscriptions.get_subscription_usage_async(subscription_id=made.id)
    assert used.amount == 2.0
    preview = await client.invoices.get_invoice_preview_async(subscription_id=made.id)
    assert preview.total == "52"
    await office.on("2026-01-16")
    changed = await client.subscriptions.preview_subscription_plan_change_v2_async(
        id=made.id, target_plan_id=other["id"], proration_behavior="create_prorations"
    )
    assert changed.change_type == "upgrade"
    ended = await client.subscriptions.cancel_subscription_async(
        id=made.id, cancellation_type="immediate", proration_behavior="create_prorations"
    )
    assert (ended.status, ended.total_credit_amount) == ("cancelled", "25.81")
