"""Books of half a year in which billing has done most of what it does."""

from __future__ import annotations

from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.renewal_notice import announce_renewals
from tests.billing.late_usage.lateness import settled
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def make_half_a_year(office: Office) -> None:
    """A commitment with overage, true-up and late usage, thresholds, a replaced plan, a rename and notices."""
    await office.on("2026-01-01")
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0, late_usage_policy="next_invoice")
    await office.account.post("/connections", {"name": "s", "provider_type": "stripe", "metadata": {"mode": "test"}})
    calls = await office.feature("calls")
    await settled(office)
    user, cut, mover, late = [await office.customer(name) for name in ("user", "cut", "mover", "late")]
    terms = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
    usage = await office.plan(office.usage(calls, "1"), name="Usage")
    await office.subscribed(usage, user, **terms)
    await office.subscribed(usage, cut, auto_invoice_threshold="5", **terms)
    await office.subscribed(usage, late)
    plan = await office.plan(fixed("50"), fixed("9", **ARREAR), name="Small")
    moving = await office.subscribed(plan, mover)
    for customer in (user, cut):
        await office.recorded("calls", customer, ("2026-01-10", 14))
    await office.on("2026-01-17")
    change = {
        "target_plan_id": (await office.plan(fixed("200"), name="Large"))["id"],
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_cycle": "anniversary",
        "proration_behavior": "create_prorations",
    }
    await office.account.post(f"/subscriptions/{moving.id}/change/execute", change, expect=200)
    await office.run("2026-02-01")
    for customer in (user, late):
        await office.recorded("calls", customer, ("2026-01-20", 3), ("2026-02-10", 1))
    await office.run("2026-03-01")
    await office.account.put(f"/customers/{mover['id']}", {"external_id": "moved", "metadata": {"a": "b"}})
    await office.on("2026-03-31T12:00")
    await announce_renewals(Run(office.account.database, office.account.scope, office.now), Summary())
