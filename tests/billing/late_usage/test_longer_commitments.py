"""Late usage and corrections under commitments over several billing periods: one account of the whole window.

Rule: docs/rules/late-usage.md#under-a-commitment-over-several-periods
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.events.upkeep.retention import forget_before
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.corrections.correcting import correct, pay, preview, void
from tests.billing.late_usage.lateness import late, send, settled
from tests.billing.late_usage.test_committed_usage import Story
from tests.billing.office import Office
from tests.subscriptions.shop import at

QUARTER = {"commitment_amount": "10", "overage_factor": "2", "commitment_duration": "QUARTERLY"}
TRUED_UP = {**QUARTER, "enable_true_up": True}
OPEN = {**QUARTER, "enable_true_up": False}
OF_SUBSCRIPTION, OF_ITEM = "subscription", "item"
NEXT = {1: "02-01", 2: "03-01", 3: "04-01", 4: "05-01"}


def quarter_costs(units: int, *, closed: bool) -> Decimal:
    """Ten are promised for the quarter; what is above costs twice, and what is missing is owed at its end."""
    return Decimal(min(units, 10) + 2 * max(units - 10, 0) + (max(10 - units, 0) if closed else 0))


class Quarter(Story):
    """A subscription to calls at 1 that is billed by the month, under a commitment for a quarter."""

    async def open(self, promise: Mapping[str, Any], level: str, policy: str = "report") -> None:
        office = self.office
        calls = await office.feature("calls", type="SUM", field="n")
        plan = await office.plan(office.usage(calls, "1"))
        await office.settings(late_usage_policy=policy)
        await settled(office)
        self.customer = await office.customer()
        self.used: dict[str, int] = {}
        terms: dict[str, Any] = dict(promise)
        if level == OF_ITEM:
            terms = {"line_item_commitments": {plan["prices"][0]["id"]: {**promise, "commitment_type": "amount"}}}
        self.subscription: Subscription = await office.subscribed(plan, self.customer, **terms)

    async def use_in(self, month: int, units: int) -> str:
        id = f"e{len(self.sent)}-{month}"
        self.sent[id] = self.used[id] = units
        await send(self.office, self.customer, id, f"2026-{month:02d}-15", n=units)
        return id

    async def void(self, *ids: str) -> None:
        await void(self.office, *ids)
        for event_id in ids:
            del self.used[event_id]

    async def bill(self, month: int) -> None:
        await self.office.run(f"2026-{NEXT[month]}")

    async def invoice_of(self, month: int) -> Invoice:
        return next(
            invoice
            for invoice in await self.office.invoices(self.subscription)
            if invoice.period_start is not None and invoice.period_start.month == month
        )

    async def live_at(self, month: int) -> int:
        return sum(units for id_, units in self.used.items() if int(id_.split("-")[1]) <= month)


@pytest.fixture
def quarter(office: Office) -> Quarter:
    return Quarter(office)


@pytest.mark.parametrize("level", [OF_SUBSCRIPTION, OF_ITEM])
@pytest.mark.parametrize(
    ("promise", "used", "late_in", "charged"),
    [
        pytest.param(TRUED_UP, (4,), (1, 3), "3", id="within what is left of an open quarter: at its price"),
        pytest.param(TRUED_UP, (4, 5), (1, 3), "5", id="one within, and two above that of later months: 1 + 4"),
        pytest.param(TRUED_UP, (4, 8), (1, 3), "6", id="the commitment is used up by a later month: all at twice"),
        pytest.param(TRUED_UP, (4, 2, 1), (1, 2), "0", id="after the true-up: it would have been smaller"),
        pytest.param(TRUED_UP, (4, 2, 1), (2, 5), "4", id="after the true-up, and two above the commitment"),
        pytest.param(OPEN, (4, 2, 1), (2, 5), "7", id="without true-up: three within, and two above"),
    ],
)
async def test_more_usage_costs_what_is_left_of_the_window(
    quarter: Quarter,
    level: str,
    promise: Mapping[str, Any],
    used: Sequence[int],
    late_in: tuple[int, int],
    charged: str,
) -> None:
    await quarter.open(promise, level)
    for month, units in enumerate(used, 1):
        await quarter.use_in(month, units)
        await quarter.bill(month)
    before = await quarter.billed()
    await quarter.use_in(*late_in)
    invoice = await quarter.invoice_of(late_in[0])
    assert (await preview(quarter.office, invoice))["difference"] == charged
    made = await correct(quarter.office, invoice, "next_invoice", expect=400 if charged == "0" else 200)
    if charged != "0":
        assert [(line["direction"], line["amount"]) for line in made["lines"]] == [("charge", charged)]
    # the next month is without usage: what it charges is late, and a true-up that is owed
    closes = len(used) == 2 and promise is TRUED_UP
    await quarter.bill(len(used) + 1)
    owed = max(10 - sum(used) - late_in[1], 0) if closes else 0
    assert await quarter.billed() == before + Decimal(charged) + owed
    assert (await preview(quarter.office, invoice))["difference"] == "0"
    assert await quarter.proved() == []


@pytest.mark.parametrize("level", [OF_SUBSCRIPTION, OF_ITEM])
@pytest.mark.parametrize(
    ("promise", "used", "voided_in", "taken_back"),
    [
        pytest.param(TRUED_UP, (4, 3), 1, "4", id="an open quarter below its commitment: four at their price"),
        pytest.param(TRUED_UP, (4, 12), 1, "8", id="of March's overage: four at twice the price"),
        pytest.param(TRUED_UP, (10, 10), 1, "20", id="more than the month itself was charged"),
        pytest.param(TRUED_UP, (4, 4, 4), 3, "4", id="down below it at its end: ten are owed, fourteen were charged"),
        pytest.param(TRUED_UP, (4, 2, 1), 1, "0", id="below it, with a true-up: that would have been larger"),
        pytest.param(OPEN, (4, 4, 4), 3, "6", id="without true-up: two at twice the price, and two at it"),
    ],
)
async def test_less_usage_takes_back_what_the_window_leaves(
    quarter: Quarter, level: str, promise: Mapping[str, Any], used: Sequence[int], voided_in: int, taken_back: str
) -> None:
    await quarter.open(promise, level)
    events = []
    for month, units in enumerate(used, 1):
        events.append(await quarter.use_in(month, units))
        await quarter.bill(month)
    before = await quarter.billed()
    await quarter.void(events[voided_in - 1])
    invoice = await quarter.invoice_of(voided_in)
    assert Decimal((await preview(quarter.office, invoice))["difference"]) == -Decimal(taken_back)
    if taken_back == "0":
        await correct(quarter.office, invoice, expect=400)
    else:
        made = await correct(quarter.office, invoice)
        assert made["total_amount"] == taken_back
        assert await correct(quarter.office, invoice) == made
    assert await quarter.billed() == before - Decimal(taken_back)
    # what was taken back is no longer used of the commitment
    month = len(used) + 1
    await quarter.use_in(month, 3)
    await quarter.bill(month)
    closed = await quarter.live_at(min(month, 3))
    in_window = quarter_costs(closed, closed=promise is TRUED_UP and month >= 3)
    assert await quarter.billed() == in_window + (3 if month == 4 else 0)
    assert await quarter.proved() == []


async def test_the_preview_shows_what_changes_on_other_invoices(quarter: Quarter) -> None:
    await quarter.open(TRUED_UP, OF_SUBSCRIPTION)
    first = await quarter.use_in(1, 8)
    await quarter.bill(1)
    await quarter.use_in(2, 5)
    await quarter.bill(2)
    await quarter.void(first)
    seen = await preview(quarter.office, await quarter.invoice_of(1))
    shown = [
        (line["display_name"], line["period_start"][5:7], line["amount_before"], line["amount_after"])
        for line in seen["lines"]
    ]
    # February's five were two within, and three at twice the price
    assert shown == [("calls", "01", "8", "0"), ("Overage", "02", "6", "0")]
    assert seen["difference"] == "-11"
    assert (await correct(quarter.office, await quarter.invoice_of(1)))["total_amount"] == "11"
    assert (await preview(quarter.office, await quarter.invoice_of(2)))["difference"] == "0"
    assert await quarter.proved() == []


@pytest.mark.parametrize("level", [OF_SUBSCRIPTION, OF_ITEM])
async def test_late_usage_of_the_policy_is_used_of_the_commitment(quarter: Quarter, level: str) -> None:
    await quarter.open(TRUED_UP, level, policy="next_invoice")
    await quarter.use_in(1, 6)
    await quarter.bill(1)
    await quarter.use_in(1, 3)
    await quarter.use_in(2, 4)
    await quarter.bill(2)
    february = await quarter.invoice_of(2)
    # nine are used before February, of whose four one is within
    assert await late(quarter.office, february) == [("01-01", "3", "3")]
    assert (february.total, await quarter.billed()) == (10, 16)
    await quarter.use_in(1, 1)
    await quarter.bill(3)
    assert await late(quarter.office, await quarter.invoice_of(3)) == [("01-01", "1", "2")]
    assert await quarter.billed() == quarter_costs(14, closed=True)
    assert await quarter.proved() == []


async def test_a_window_that_threshold_invoices_have_cut_cannot_be_told(quarter: Quarter) -> None:
    await quarter.open({**TRUED_UP, "auto_invoice_threshold": "5"}, OF_SUBSCRIPTION)
    office = quarter.office
    await quarter.use_in(1, 6)
    await office.on("2026-01-20")
    await invoice_thresholds(Run(office.account.database, office.account.scope, office.now), Summary())
    await quarter.bill(1)
    await quarter.use_in(2, 2)
    await quarter.bill(2)
    await quarter.use_in(2, 2)
    february = await quarter.invoice_of(2)
    (line,) = (await preview(office, february))["lines"]
    assert (line["not_corrected"], line.get("difference")) == ("commitment", None)
    await correct(office, february, "next_invoice", expect=400)


@pytest.mark.parametrize("level", [OF_SUBSCRIPTION, OF_ITEM])
async def test_what_an_ended_subscription_used_more_is_charged_at_once(quarter: Quarter, level: str) -> None:
    await quarter.open(OPEN, level)
    await quarter.use_in(1, 8)
    await quarter.bill(1)
    await quarter.office.on("2026-02-20")
    at_once = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice"}
    await quarter.office.account.post(f"/subscriptions/{quarter.subscription.id}/cancel", at_once, 200)
    gone = await quarter.use_in(1, 5)
    january = await quarter.invoice_of(1)
    made = await correct(quarter.office, january, "next_invoice")
    assert (made["charged_invoice_id"] is not None, await quarter.billed()) == (True, 16)
    await quarter.void(gone)
    assert (await correct(quarter.office, january))["total_amount"] == "8"
    assert await quarter.billed() == 8
    assert await quarter.proved() == []


async def test_versions_of_an_item_share_a_quarter(quarter: Quarter) -> None:
    office = quarter.office
    await quarter.open(TRUED_UP, OF_ITEM)
    await quarter.use_in(1, 4)
    await quarter.bill(1)
    await office.on("2026-02-11")
    (item,) = (await office.account.get(f"/subscriptions/{quarter.subscription.id}"))["line_items"]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "3"})
    first = await quarter.use_in(2, 3)
    await quarter.bill(2)
    # four at 1 and three at 3 are thirteen, of which three are above
    assert await quarter.billed() == 16
    await quarter.use_in(1, 1)
    assert (await preview(office, await quarter.invoice_of(1)))["difference"] == "2"
    await correct(office, await quarter.invoice_of(1), "next_invoice")
    await quarter.void(first)
    assert (await correct(office, await quarter.invoice_of(2)))["total_amount"] == "11"
    await quarter.bill(3)
    # five are used, and what was promised is owed
    assert await quarter.billed() == 10
    assert await quarter.proved() == []


async def test_events_that_are_kept_no_longer_are_not_taken_back(quarter: Quarter) -> None:
    office = quarter.office
    await quarter.open(TRUED_UP, OF_SUBSCRIPTION)
    await quarter.use_in(1, 8)
    await quarter.bill(1)
    gone = await quarter.use_in(2, 5)
    await quarter.bill(2)
    async with office.transaction() as session:
        assert await forget_before(session, at("2026-02-01")) > 0
    february = await quarter.invoice_of(2)
    assert (await preview(office, february))["difference"] == "0"
    await quarter.use_in(2, 1)
    assert (await preview(office, february))["difference"] == "2"
    await quarter.void(gone)
    # eight stand, and one of February: of its eight nothing is left above
    assert (await correct(office, february))["total_amount"] == "7"
    assert await quarter.billed() == 9


@pytest.mark.parametrize("level", [OF_SUBSCRIPTION, OF_ITEM])
@pytest.mark.parametrize("seed", range(3))
async def test_any_story_comes_to_what_the_events_cost(quarter: Quarter, level: str, seed: int) -> None:
    """Late events, voids, payments, months and corrections in any order end at what the quarter costs."""
    chance, office = random.Random(seed), quarter.office
    true_up = chance.choice([True, False])
    await quarter.open(TRUED_UP if true_up else OPEN, level, chance.choice(["report", "next_invoice"]))
    billed_to = 0
    for _ in range(9):
        step = chance.choice(["month", "use", "use", "void", "correct", "correct", "pay"])
        if (step == "month" or not billed_to) and billed_to < 4:
            billed_to += 1
            await quarter.use_in(billed_to, chance.randint(1, 7))
            await quarter.bill(billed_to)
        elif step == "use":
            await quarter.use_in(chance.randint(1, min(billed_to, 3)), chance.randint(1, 5))
        elif step == "void" and quarter.used:
            await quarter.void(chance.choice(sorted(quarter.used)))
        elif step == "correct":
            invoice = await quarter.invoice_of(chance.randint(1, billed_to))
            path = f"/invoices/{invoice.id}/corrections"
            resolution = chance.choice(["credit_note", "next_invoice"])
            await office.account.http.post(path, json={"resolution": resolution})
        elif step == "pay":
            invoice = await quarter.invoice_of(chance.randint(1, billed_to))
            left = Decimal((await office.account.get(f"/invoices/{invoice.id}"))["amount_remaining"])
            if left > 0:
                await pay(office, invoice, str(left))
    while billed_to < 4:
        billed_to += 1
        await quarter.use_in(billed_to, 1)
        await quarter.bill(billed_to)
    invoices = [await quarter.invoice_of(month) for month in range(1, 5)]
    for resolution in ("credit_note", "next_invoice"):
        for invoice in invoices:
            await office.account.http.post(f"/invoices/{invoice.id}/corrections", json={"resolution": resolution})
    await office.run("2026-06-01")
    in_april = sum(units for event_id, units in quarter.used.items() if event_id.endswith("-4"))
    in_quarter = sum(quarter.used.values()) - in_april
    cost = quarter_costs(in_quarter, closed=true_up) + quarter_costs(in_april, closed=False)
    assert await quarter.billed() == cost
    assert [(await preview(office, invoice))["difference"] for invoice in invoices] == ["0"] * 4
    assert await quarter.proved() == []
