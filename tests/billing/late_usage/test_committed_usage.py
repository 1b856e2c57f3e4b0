"""Late usage and corrections under commitments: what the whole of a period costs, never more and never twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.proof.invoices import prove
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.corrections.correcting import (
    billed,
    correct,
    correct_what_is_left,
    faults,
    january,
    notes,
    pay,
    pay_what_is_owed,
    preview,
    try_to_correct,
    void,
)
from tests.billing.late_usage.lateness import late, settled
from tests.billing.office import Office

Promise = dict[str, Any]
TRUED_UP: Promise = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
OPEN: Promise = {**TRUED_UP, "enable_true_up": False}


class Story:
    """A subscription to calls at 1 and bytes at 2, under a commitment, that is invoiced for January."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.customer: dict[str, Any] = {}
        self.sent = {"calls": 0, "bytes": 0}

    async def begin(self, promise: Promise, calls: int, bytes_: int = 0, policy: str = "report") -> Invoice:
        office = self.office
        features = [await office.feature("calls"), await office.feature("bytes")]
        plan = await office.plan(*(office.usage(feature, price) for feature, price in zip(features, "12", strict=True)))
        await office.settings(late_usage_policy=policy)
        await settled(office)
        self.customer = await office.customer()
        self.subscription: Subscription = await office.subscribed(plan, self.customer, **promise)
        await self.use(calls, bytes_)
        await office.run("2026-02-01")
        return await january(office, self.subscription)

    async def use(self, calls: int, bytes_: int = 0) -> None:
        """So many more events in January; `calls0`, `calls1`, ... and `bytes0`, ..."""
        for name, count in (("calls", calls), ("bytes", bytes_)):
            for _ in range(count):
                await self.send(name)

    async def send(self, name: str) -> None:
        event = {
            "event_id": f"{name}{self.sent[name]}",
            "event_name": name,
            "external_customer_id": self.customer["external_id"],
            "timestamp": "2026-01-15T00:00:00Z",
        }
        self.sent[name] += 1
        await self.office.account.post("/events", event, expect=202)

    async def billed(self) -> Decimal:
        return await billed(self.office, self.subscription)

    async def proved(self) -> list[Any]:
        invoices = await self.office.invoices(self.subscription)
        async with self.office.account.transaction(read_only=True) as session:
            fresh = [await session.get_one(Invoice, invoice.id) for invoice in invoices]
            found = (await prove(session, fresh)).differences
        return [*found, *await faults(self.office, invoices)]


@pytest.fixture
def story(office: Office) -> Story:
    return Story(office)


@pytest.mark.parametrize(
    ("promise", "used", "more", "charged"),
    [
        pytest.param(TRUED_UP, 4, 3, "0", id="below the commitment more costs nothing more: the true-up shrinks"),
        pytest.param(TRUED_UP, 4, 6, "0", id="up to the commitment more costs nothing more: the true-up is gone"),
        pytest.param(TRUED_UP, 4, 9, "6", id="three above the commitment cost twice"),
        pytest.param(TRUED_UP, 12, 2, "4", id="above it, more costs twice"),
        pytest.param(OPEN, 4, 3, "3", id="below it without true-up, more costs its price"),
        pytest.param(OPEN, 4, 9, "12", id="across it, six at the price and three at twice"),
    ],
)
async def test_more_usage_costs_what_the_commitment_makes_of_the_whole(
    story: Story, promise: Promise, used: int, more: int, charged: str
) -> None:
    invoice = await story.begin(promise, used, policy="next_invoice")
    before = await story.billed()
    await story.use(more)
    assert (await preview(story.office, invoice))["difference"] == charged
    if charged == "0":
        for resolution in ("credit_note", "next_invoice"):
            await correct(story.office, invoice, resolution, expect=400)
    await story.office.run("2026-03-01")
    february = (await story.office.invoices(story.subscription))[-1]
    on_february = [row for row in await story.office.rows(february) if row.late_for_line_id is not None]
    assert sum(row.amount for row in on_february) == Decimal(charged)
    await story.office.run("2026-04-01")
    of_january = await january_of(story)
    assert of_january == before + Decimal(charged)
    assert (await preview(story.office, invoice))["difference"] == "0"
    assert await story.proved() == []


async def january_of(story: Story) -> Decimal:
    """What was charged for January on all invoices, less what was taken back."""
    total = Decimal(0)
    for invoice in await story.office.invoices(story.subscription):
        rows = await story.office.rows(invoice)
        total += sum(row.amount for row in rows if row.period_start is not None and row.period_start.month == 1)
        total -= sum(Decimal(amount) for _, amount in await notes(story.office, invoice))
    return total


@pytest.mark.parametrize(
    ("promise", "used", "voided", "now"),
    [
        pytest.param(TRUED_UP, 13, 2, "12", id="two of three above it less: four less"),
        pytest.param(TRUED_UP, 13, 9, "10", id="down below it: what was promised is owed"),
        pytest.param(OPEN, 13, 9, "4", id="down below it and no true-up: what was used"),
        pytest.param(TRUED_UP, 7, 3, "10", id="below it, less takes nothing off: the true-up grows"),
        pytest.param(OPEN, 7, 3, "4", id="below it without true-up: three less"),
    ],
)
async def test_less_usage_takes_back_what_the_commitment_leaves(
    story: Story, promise: Promise, used: int, voided: int, now: str
) -> None:
    invoice = await story.begin(promise, used)
    before = invoice.total
    await void(story.office, *(f"calls{number}" for number in range(voided)))
    seen = await preview(story.office, invoice)
    assert before + Decimal(seen["difference"]) == Decimal(now)
    assert sum(Decimal(line["amount_after"]) for line in seen["lines"]) == Decimal(now)
    if before == Decimal(now):
        await correct(story.office, invoice, expect=400)
    else:
        made = await correct(story.office, invoice)
        assert Decimal(made["total_amount"]) == before - Decimal(now)
        assert await correct(story.office, invoice) == made
    assert (await preview(story.office, invoice))["difference"] == "0"
    assert await story.billed() == Decimal(now)
    assert await story.proved() == []


async def test_the_preview_shows_the_true_up_that_shrinks(story: Story) -> None:
    invoice = await story.begin(TRUED_UP, 4)
    await story.use(3)
    seen = await preview(story.office, invoice)
    shown = [(line["display_name"], line["amount_before"], line["amount_after"]) for line in seen["lines"]]
    assert shown == [("calls", "4", "7"), ("bytes", "0", "0"), ("True Up", "6", "3")]
    assert (seen["difference"], seen["net_credit"]) == ("0", "0")


async def test_one_item_may_push_another_over_the_commitment(story: Story) -> None:
    invoice = await story.begin(TRUED_UP, 4, 3)
    assert invoice.total == 10
    await story.use(2)
    assert (await preview(story.office, invoice))["difference"] == "4"
    made = await correct(story.office, invoice, "next_invoice")
    assert [line["amount"] for line in made["lines"]] == ["4"]
    await story.office.run("2026-03-01")
    february = (await story.office.invoices(story.subscription))[-1]
    assert await late(story.office, february) == [("01-01", "2", "4")]
    assert (await preview(story.office, invoice))["difference"] == "0"
    assert await story.proved() == []


async def test_what_is_all_overage_is_measured_again(story: Story) -> None:
    invoice = await story.begin(TRUED_UP, 10, 1)
    assert invoice.total == 14
    await void(story.office, "bytes0")
    assert (await correct(story.office, invoice))["total_amount"] == "4"
    assert await story.proved() == []


async def test_late_usage_and_then_a_correction_and_the_other_way_round_charge_once(story: Story) -> None:
    invoice = await story.begin(TRUED_UP, 12, policy="next_invoice")
    await story.use(2)
    await story.office.run("2026-03-01")
    assert await january_of(story) == 18
    await correct(story.office, invoice, "next_invoice", expect=400)
    await void(story.office, "calls0", "calls1", "calls2")
    assert (await correct(story.office, invoice))["total_amount"] == "6"
    await story.use(1)
    made = await correct(story.office, invoice, "next_invoice")
    assert [(line["direction"], line["amount"]) for line in made["lines"]] == [("charge", "2")]
    await story.office.run("2026-04-01")
    await story.office.run("2026-05-01")
    assert await january_of(story) == 14
    assert (await preview(story.office, invoice))["difference"] == "0"
    assert await story.proved() == []


@pytest.mark.parametrize("threshold_paid", [False, True])
@pytest.mark.parametrize(
    ("promise", "billed_at_first", "taken_back"),
    [
        pytest.param({}, (8, 1), "4", id="at a price"),
        # five and three at twice the price, then one more; five are left
        pytest.param({**TRUED_UP, "commitment_amount": "5"}, (11, 2), "8", id="under a commitment"),
    ],
)
async def test_what_threshold_invoices_charged_is_taken_back_too(
    story: Story, promise: Promise, billed_at_first: tuple[int, int], taken_back: str, threshold_paid: bool
) -> None:
    office = story.office
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    await settled(office)
    story.customer = await office.customer()
    story.subscription = await office.subscribed(plan, story.customer, auto_invoice_threshold="6", **promise)
    await story.use(8)
    await office.on("2026-01-20")
    await invoice_thresholds(Run(office.account.database, office.account.scope, office.now), Summary())
    await story.use(1)
    await office.run("2026-02-01")
    threshold, invoice = await office.invoices(story.subscription)
    assert (threshold.total, invoice.total) == billed_at_first
    if threshold_paid:
        await pay(office, threshold, str(threshold.total))
    await void(office, *(f"calls{number}" for number in range(4)))
    assert (await preview(office, invoice))["difference"] == f"-{taken_back}"
    assert (await correct(office, invoice))["total_amount"] == taken_back
    assert (await preview(office, invoice))["difference"] == "0"
    assert await story.billed() == 5
    assert await story.proved() == []


@pytest.mark.parametrize("true_up", [False, True])
async def test_late_usage_under_an_items_own_commitment_is_proved(story: Story, true_up: bool) -> None:
    office = story.office
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    await office.settings(late_usage_policy="next_invoice")
    await settled(office)
    story.customer = await office.customer()
    terms = {"commitment_amount": "5", "commitment_type": "amount", "overage_factor": "2", "enable_true_up": true_up}
    commitments = {plan["prices"][0]["id"]: terms}
    story.subscription = await office.subscribed(plan, story.customer, line_item_commitments=commitments)
    await story.use(7)
    await office.run("2026-02-01")
    await story.use(2)
    await office.run("2026-03-01")
    assert await january_of(story) == 13
    assert await story.proved() == []


@pytest.mark.parametrize("kind", ["amount", "quantity"])
@pytest.mark.parametrize(
    ("used", "total"),
    [
        pytest.param(3, "5", id="three of five: what was promised for half of the month"),
        pytest.param(12, "19", id="twelve of five: seven at twice the price"),
    ],
)
async def test_a_commitment_that_is_cut_with_its_subscription_is_proved(
    story: Story, kind: str, used: int, total: str
) -> None:
    office = story.office
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    await settled(office)
    story.customer = await office.customer()
    terms = {f"commitment_{kind}": "10", "commitment_type": kind, "overage_factor": "2", "enable_true_up": True}
    prorated = {"proration_behavior": "create_prorations"}
    commitments = {plan["prices"][0]["id"]: terms}
    story.subscription = await office.subscribed(plan, story.customer, line_item_commitments=commitments, **prorated)
    await story.use(used)
    await office.on("2026-01-16T12:00:00")
    at_once = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice"}
    path = f"/subscriptions/{story.subscription.id}/cancel"
    await office.account.post(path, {**at_once, **prorated}, 200)
    (invoice,) = await office.invoices(story.subscription)
    assert invoice.total == Decimal(total)
    assert await story.proved() == []
    await story.use(1)
    made = await correct(office, invoice, "next_invoice", expect=400 if used == 3 else 200)
    if used == 12:
        assert [line["amount"] for line in made["lines"]] == ["2"]
    assert await story.proved() == []


def calls_and_bytes(calls: int, bytes_: int, *, true_up: bool) -> Decimal:
    """Ten are promised; whole units of calls, then of bytes, use it up, and the rest costs twice."""
    within = min(calls, 10)
    over = calls - within
    fits = 0 if over else min(bytes_, (10 - within) // 2)
    within, over = within + 2 * fits, over + 2 * (bytes_ - fits)
    return Decimal(within + 2 * over if over else max(within, 10 if true_up else 0))


@pytest.mark.parametrize("true_up", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_any_story_comes_to_what_the_events_cost(story: Story, seed: int, true_up: bool) -> None:
    """Voids, late events, payments, months and corrections in any order end at a fresh rating of the events."""
    chance, office = random.Random(seed), story.office
    cost: Callable[..., Decimal] = calls_and_bytes
    policy = chance.choice(["report", "next_invoice"])
    invoice = await story.begin(TRUED_UP if true_up else OPEN, chance.randint(0, 12), chance.randint(0, 4), policy)
    live = [f"{name}{number}" for name, count in story.sent.items() for number in range(count)]
    month = 3
    for _ in range(6):
        step = chance.choice(["void", "send", "send", "credit_note", "next_invoice", "month", "pay"])
        if step == "void" and live:
            gone = chance.sample(live, chance.randint(1, min(len(live), 6)))
            await void(office, *gone)
            live = [event_id for event_id in live if event_id not in gone]
        elif step == "send":
            for name in chance.choices(["calls", "bytes"], k=chance.randint(1, 5)):
                live.append(f"{name}{story.sent[name]}")
                await story.send(name)
        elif step == "month":
            await office.run(f"2026-{month:02}-01")
            month += 1
        elif step == "pay":
            await pay_what_is_owed(office, invoice)
        elif step in {"credit_note", "next_invoice"}:
            await try_to_correct(office, invoice, step)
    await correct_what_is_left(office, invoice, month)
    used = [sum(event_id.startswith(name) for event_id in live) for name in ("calls", "bytes")]
    assert await january_of(story) == cost(*used, true_up=true_up)
    assert (await preview(office, invoice))["difference"] == "0"
    assert await story.proved() == []
