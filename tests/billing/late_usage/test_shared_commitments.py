"""Late usage and corrections under a commitment that versions of an item share, or that holds for each window."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from farthing.invoices.tables import Invoice
from tests.billing.corrections.correcting import correct, january, preview, void
from tests.billing.late_usage.lateness import late, send, settled
from tests.billing.late_usage.test_committed_usage import Story, january_of
from tests.billing.office import Office

PROMISE: dict[str, Any] = {"commitment_amount": "100", "overage_factor": "2"}
WINDOWED: dict[str, Any] = {"commitment_amount": "10", "overage_factor": "2", "is_window_commitment": True}

MORNING = {"start": {"hour": 0, "minute": 0}, "end": {"hour": 12, "minute": 0}, "commitment_type": "amount"}
BY_TIME = {
    "is_window_commitment": True,
    "commitment_time_buckets": [{**MORNING, "commitment_value": "10", "overage_factor": "2"}],
}


@pytest.fixture
def story(office: Office) -> Story:
    return Story(office)


async def two_versions(story: Story, first: int, second: int, *, true_up: bool) -> Invoice:
    """Calls at 1 until the 11th and at 2 from then on, under one promise of 100: `e0`, ... and then `f0`, ..."""
    office = story.office
    plan = await office.plan(office.usage(await office.feature("calls"), "1"))
    await settled(office)
    story.customer = await office.customer()
    commitments = {plan["prices"][0]["id"]: {**PROMISE, "enable_true_up": true_up}}
    story.subscription = await office.subscribed(plan, story.customer, line_item_commitments=commitments)
    for name, count, day in (("e", first, "05"), ("f", second, "20")):
        for number in range(count):
            await send(office, story.customer, f"{name}{number}", f"2026-01-{day}")
    await office.on("2026-01-11")
    (item,) = (await office.account.get(f"/subscriptions/{story.subscription.id}"))["line_items"]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "2"})
    await office.run("2026-02-01")
    return await january(office, story.subscription)


@pytest.mark.parametrize(
    ("used", "voided", "true_up", "billed", "now"),
    [
        pytest.param((3, 50), 2, False, "106", "102", id="above it: what cost one costs two less, for each of two"),
        pytest.param((3, 20), 2, True, "100", "100", id="below it, less only makes the true-up grow"),
        pytest.param((3, 20), 2, False, "43", "41", id="below it without true-up, less takes off its price"),
        pytest.param((3, 49), 3, False, "102", "98", id="across it"),
    ],
)
async def test_versions_of_an_item_share_what_was_promised(
    story: Story, used: tuple[int, int], voided: int, true_up: bool, billed: str, now: str
) -> None:
    office = story.office
    invoice = await two_versions(story, *used, true_up=true_up)
    assert invoice.total == Decimal(billed)
    await void(office, *(f"e{number}" for number in range(voided)))
    seen = await preview(office, invoice)
    assert sum(Decimal(line["amount_after"]) for line in seen["lines"]) == Decimal(now)
    if now == billed:
        await correct(office, invoice, expect=400)
    else:
        made = await correct(office, invoice)
        assert Decimal(made["total_amount"]) == Decimal(billed) - Decimal(now)
        assert await correct(office, invoice) == made
    assert (await preview(office, invoice))["difference"] == "0"
    assert await story.proved() == []


async def test_what_comes_late_of_an_earlier_version_is_charged_once(story: Story) -> None:
    office = story.office
    await office.settings(late_usage_policy="next_invoice")
    invoice = await two_versions(story, 3, 50, true_up=False)
    await send(office, story.customer, "late", "2026-01-06")
    assert (await preview(office, invoice))["difference"] == "2"
    await office.run("2026-03-01")
    february = (await office.invoices(story.subscription))[-1]
    assert [amount for _, _, amount in await late(office, february)] == ["2"]
    assert (await january_of(story), (await preview(office, invoice))["difference"]) == (108, "0")
    assert await story.proved() == []


@pytest.mark.parametrize(
    ("terms", "size", "billed", "later", "fewer"),
    [
        # 8 at 2 on the second are 16: 10 and 6 at twice the price; 2 at 2 on the third are 4
        pytest.param({**WINDOWED, "enable_true_up": False}, "DAY", "26", "30", "6", id="as they are used"),
        pytest.param({**WINDOWED, "enable_true_up": True}, "DAY", "322", "326", "310", id="with thirty days trued up"),
        pytest.param(BY_TIME, "12HOUR", "26", "28", "6", id="in the morning alone"),
    ],
)
async def test_each_window_has_a_commitment_of_its_own(
    story: Story, terms: dict[str, Any], size: str, billed: str, later: str, fewer: str
) -> None:
    """One more on the second day is charged, and then the eight of that day are taken back."""
    office = story.office
    units = await office.feature("calls", type="SUM", field="n", bucket_size=size)
    plan = await office.plan(office.usage(units, "2"))
    await settled(office)
    story.customer = await office.customer()
    commitments = {plan["prices"][0]["id"]: terms}
    story.subscription = await office.subscribed(plan, story.customer, line_item_commitments=commitments)
    await send(office, story.customer, "e0", "2026-01-02T10:00", n=8)
    await send(office, story.customer, "e1", "2026-01-03T10:00", n=2)
    await office.run("2026-02-01")
    invoice = await january(office, story.subscription)
    assert invoice.total == Decimal(billed)
    await send(office, story.customer, "e2", "2026-01-02T23:00", n=1)
    await correct(office, invoice, "next_invoice")
    await office.run("2026-03-01")
    assert await january_of(story) == Decimal(later)
    await void(office, "e0")
    await correct(office, invoice)
    assert (await preview(office, invoice))["difference"] == "0"
    assert await january_of(story) == Decimal(fewer)
    assert await story.proved() == []
