"""Metadata decide nothing: whatever a caller writes under whatever key, every later invoice is what it would have been.

Two subscriptions with catalogues of their own live the same half year. Everything of one of them that takes metadata
gets random ones before each step, among them every key that the wire shows for a column; the other is left alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from tests.billing.late_usage.lateness import settled
from tests.billing.office import ARREAR, Office
from tests.invoices.listed import require_lists_as_reads
from tests.subscriptions.shop import at, fixed

COMPOSED = (
    "opening_credit",
    "proration_behavior",
    "proration_credit",
    "already_invoiced",
    "late_usage",
    "late_for_line",
    "is_overage",
    "overage_factor",
    "is_commitment_trueup",
    "commitment_amount",
    "commitment_utilized",
    "kind",
    "base",
    "revisit_at",
    "collect_at",
    "recompute_at",
    "old_external_ids",
    "usage_reset_period",
    "child_customer_id",
    "cancellation_type",
    "effective_date",
    "source_plan_id",
)
"""The keys that decided something once, or are shown for a column."""
RESERVED = ("wallet_transaction_id", "auto_completed")
"""Those that an invoice refuses."""
VALUES = (
    "0",
    "1",
    "-1",
    "25",
    "1000000",
    "create_prorations",
    "true",
    "late_usage",
    "overage",
    "2026-01-01T00:00:00Z",
    "",
)


@dataclass
class Life:
    """One customer's subscription, with a plan, prices, an addon, a coupon and a tax of its own."""

    office: Office
    name: str
    customer: Mapping[str, Any]
    plan: Mapping[str, Any]
    larger: Mapping[str, Any]
    addon: Mapping[str, Any]
    coupon: Mapping[str, Any]
    tax: Mapping[str, Any]
    metered: bool
    subscription_id: str = ""

    @classmethod
    async def of(cls, office: Office, name: str, feature: Mapping[str, Any], *, metered: bool) -> Life:
        account = office.account
        usage = office.usage(feature, "1")
        return cls(
            office,
            name,
            await office.customer(name),
            await office.plan(*(() if metered else (fixed("50"), fixed("9", **ARREAR))), usage, name=f"{name} plan"),
            await office.plan(fixed("200"), usage, name=f"{name} larger plan"),
            await office.addon(fixed("5"), key=f"{name}-addon"),
            await account.post(
                "/coupons",
                {"name": name, "coupon_code": name, "type": "percentage", "percentage_off": "10", "cadence": "forever"},
            ),
            await account.post(
                "/taxes/rates",
                {"name": name, "code": name, "tax_rate_type": "percentage", "percentage_value": "19"},
            ),
            metered,
        )

    async def begin(self, **more: Any) -> None:
        subscription = await self.office.subscribed(
            self.plan,
            self.customer,
            commitment_amount="20",
            overage_factor="1.5",
            enable_true_up=True,
            coupons=[self.coupon["id"]],
            metadata={},
            **more,
        )
        self.subscription_id = subscription.id

    async def lives(self, step: int) -> None:
        """What happens to the subscription at one step, after the run; every life does the same."""
        office, path = self.office, f"/subscriptions/{self.subscription_id}"
        match step:
            case 0:
                await office.recorded("calls", self.customer, ("2026-01-10", 17), ("2026-01-20", 12))
            case 1:
                await office.recorded("calls", self.customer, ("2026-01-21", 3), ("2026-02-10", 4))
            case 2:
                newest = (await self.invoices())[-1]
                await office.account.post(f"/invoices/{newest['id']}/recalculate", expect=202)
            case 3 if not self.metered:  # a threshold holds for usage alone
                change = {
                    "target_plan_id": self.larger["id"],
                    "billing_cadence": "RECURRING",
                    "billing_period": "MONTHLY",
                    "billing_cycle": "anniversary",
                    "proration_behavior": "create_prorations",
                }
                done = await office.account.post(f"{path}/change/execute", change, expect=200)
                self.subscription_id = done["new_subscription"]["id"]
            case 4 if not self.metered:
                opening = [
                    invoice for invoice in await self.invoices() if invoice["billing_reason"] == "SUBSCRIPTION_UPDATE"
                ][-1]
                await office.account.post(f"/invoices/{opening['id']}/recalculate", expect=202)
            case 5:
                await office.recorded("calls", self.customer, ("2026-03-28", 2))

    async def invoices(self) -> list[dict[str, Any]]:
        """All invoices with their lines, oldest first."""
        listed = await self.office.account.get("/invoices", customer_id=self.customer["id"], limit=100)
        whole = [await self.office.account.get(f"/invoices/{item['id']}") for item in listed["items"]]
        return sorted(whole, key=lambda one: (one["period_end"], one["created_at"], one["billing_sequence"] or 0))

    async def figures(self) -> list[object]:
        """Everything on the invoices that is an amount, a quantity, a time or a standing."""
        return [
            (
                [
                    invoice.get(name)
                    for name in (
                        "billing_reason", "invoice_status", "payment_status", "subtotal", "total_discount", "total_tax",
                        "total", "amount_due", "amount_paid", "amount_remaining", "period_start", "period_end",
                    )
                ],
                sorted(
                    [
                        (
                            line.get("display_name", "").replace(self.name, ""),
                            *(line[name] for name in ("amount", "quantity", "line_item_discount")),
                            *(line["invoice_level_discount"], line.get("period_start")),
                        )
                        for line in invoice.get("line_items", ())
                    ],
                    key=str,
                ),
            )
            for invoice in await self.invoices()
        ]  # fmt: skip

    async def scribble(self, at_random: random.Random) -> None:
        """Write random metadata on everything that takes them."""
        account = self.office.account
        subscription = await account.get(f"/subscriptions/{self.subscription_id}")
        paths = [f"/customers/{self.customer['id']}", f"/coupons/{self.coupon['id']}", f"/taxes/rates/{self.tax['id']}"]
        paths += [f"/plans/{self.plan['id']}", f"/plans/{self.larger['id']}", f"/addons/{self.addon['id']}"]
        paths += [
            f"/prices/{price['id']}" for owner in (self.plan, self.larger, self.addon) for price in owner["prices"]
        ]
        paths += [
            f"/subscriptions/lineitems/{line_item['id']}"
            for line_item in subscription["line_items"]
            if "end_date" not in line_item
        ]
        for path in paths:
            await account.put(path, {"metadata": scribbles(at_random, *RESERVED)})
        for invoice in await self.invoices():
            if invoice["invoice_status"] in {"DRAFT", "FINALIZED"}:
                await account.put(f"/invoices/{invoice['id']}", {"metadata": scribbles(at_random)})


def scribbles(at_random: random.Random, *more: str) -> dict[str, str]:
    """Some keys, known and unknown, with values that would mean something."""
    known = at_random.sample((*COMPOSED, *more), at_random.randrange(3, 12))
    unknown = [f"k{at_random.randrange(1000)}" for _ in range(3)]
    return {key: at_random.choice(VALUES) for key in (*known, *unknown)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_written_into_metadata_changes_no_figure(office: Office, seed: int) -> None:
    at_random, metered = random.Random(seed), seed == 1
    await office.settings(late_usage_policy="next_invoice", finalization_delay_seconds=3600)
    feature = await office.feature("calls")
    await settled(office)
    alone, written = [await Life.of(office, name, feature, metered=metered) for name in ("alone", "written")]
    for life in (alone, written):
        # a threshold is for usage alone, an addon's fee is not
        await life.begin(
            **({"auto_invoice_threshold": "15"} if metered else {"addons": [{"addon_id": life.addon["id"]}]})
        )
    moments = (
        "2026-01-02",
        "2026-02-01",
        "2026-02-01T02:00",
        "2026-02-15",
        "2026-02-16",
        "2026-03-01",
        "2026-03-01T02:00",
    )
    for step, moment in enumerate(moments):
        await written.scribble(at_random)
        await office.on(moment)
        run = Run(office.account.database, office.account.scope, at(moment))
        await run.all()
        for life in (alone, written):
            await life.lives(step)
        if step == 0:
            done = Summary()
            office.now = at("2026-01-12")
            await invoice_thresholds(Run(office.account.database, office.account.scope, office.now), done)
            assert done.failed == {}
    for moment in ("2026-04-01", "2026-04-01T02:00"):
        await written.scribble(at_random)
        await office.run(moment)
    figures = await alone.figures()
    assert await written.figures() == figures
    assert len(figures) >= 4


async def test_what_columns_say_is_shown_and_wins(office: Office) -> None:
    plan, larger = await office.plan(fixed("50")), await office.plan(fixed("200"), name="Larger")
    subscription = await office.subscribed(plan)
    await office.on("2026-01-17")
    change = {
        "target_plan_id": larger["id"],
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_cycle": "anniversary",
        "proration_behavior": "create_prorations",
    }
    done = await office.account.post(f"/subscriptions/{subscription.id}/change/execute", change, expect=200)
    opening = done["invoice"]
    credit = opening["metadata"]["opening_credit"]
    assert opening["line_items"][0]["metadata"] == {"proration_credit": credit}
    path = f"/invoices/{opening['id']}"
    changed = await office.account.put(path, {"metadata": {"opening_credit": "1000", "proration_behavior": "mine"}})
    # nothing scales its arrears, so that key is the caller's
    assert changed["metadata"] == {"opening_credit": credit, "proration_behavior": "mine"}
    await office.account.post(f"{path}/recalculate", expect=202)
    again = await office.account.get(path)
    new = await office.account.get(f"/invoices/{again['recalculated_invoice_id']}")
    assert (new["total"], new["metadata"]) == (opening["total"], {"opening_credit": credit})
    await require_lists_as_reads(office.account)
