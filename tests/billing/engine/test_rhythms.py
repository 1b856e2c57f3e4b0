"""Whatever the zone, the anchor and the period: billed at once or now and then, the invoices are the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import at, fixed

pytestmark = pytest.mark.usefixtures("proven")

ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"]
PERIODS = [
    ("DAILY", 29),
    ("WEEKLY", 3),
    ("MONTHLY", 1),
    ("MONTHLY", 2),
    ("QUARTERLY", 1),
    ("HALF_YEARLY", 1),
    ("ANNUAL", 1),
]
FIRST, UNTIL = at("2026-01-25"), at("2027-04-01")


def _moment(at_random: random.Random, start: datetime = FIRST, days: int = 431) -> datetime:
    return start + timedelta(minutes=at_random.randrange(days * 24 * 60))


def _rhythm(at_random: random.Random, period: str, count: int) -> dict[str, Any]:
    """When a subscription begins, what it is anchored to, and whether it ends."""
    start = _moment(at_random, days=7)
    more: dict[str, Any] = {"billing_cycle": at_random.choice(["anniversary", "anniversary", "calendar"])}
    if more["billing_cycle"] == "anniversary" and at_random.random() < 0.6:
        more["billing_anchor"] = _moment(at_random, start, 25).isoformat()
    if at_random.random() < 0.3:
        more["end_date"] = _moment(at_random, start + timedelta(hours=1), 400).isoformat()
    return {"billing_period": period, "billing_period_count": count, "start_date": start.isoformat(), **more}


@pytest.mark.slow
async def test_any_rhythm_is_billed_the_same_at_once_and_now_and_then(office: Office, stranger: Account) -> None:
    at_random = random.Random(20)
    other = Office(stranger)
    await other.on("2026-01-01")
    await other.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    begun: list[tuple[list[Subscription], dict[str, Any], list[datetime]]] = []
    features = [await each.feature("calls") for each in (office, other)]
    for period, count in PERIODS:
        rhythm, zone = _rhythm(at_random, period, count), at_random.choice(ZONES)
        price = {"billing_period": period, "billing_period_count": count}
        seen = [_moment(at_random) for _ in range(30)]
        made = []
        for shop, feature in zip((office, other), features, strict=True):
            plan = await shop.plan(
                fixed("10", **price), fixed("3", **price, **ARREAR), shop.usage(feature, "1", **price)
            )
            customer = await shop.customer(timezone=zone)
            made.append(await shop.subscribed(plan, customer, **rhythm))
            await shop.recorded("calls", customer, *((moment.isoformat()[:16], 1) for moment in seen))
        begun.append((made, rhythm, seen))
    for moment in sorted(_moment(at_random) for _ in range(9)):
        assert (await office.run(moment)).failed == {}
    for shop in (office, other):
        assert (await shop.run(UNTIL)).failed == {}
    for (often, at_once), rhythm, seen in begun:
        assert await office.billed(often) == await other.billed(at_once), rhythm
        await _everything_once(office, await office.invoices(often), rhythm, seen)


async def _everything_once(
    office: Office, invoices: Sequence[Invoice], rhythm: dict[str, Any], seen: Sequence[datetime]
) -> None:
    """Periods tile from the start on, no fee is charged twice for a moment, and every use in them is charged once."""
    start = datetime.fromisoformat(rhythm["start_date"])
    cycles = [invoice for invoice in invoices if str(invoice.billing_reason) == "SUBSCRIPTION_CYCLE"]
    ends = [start, *(cycle.period_end for cycle in cycles if cycle.period_end is not None)]
    assert [cycle.period_start for cycle in cycles] == ends[:-1], rhythm
    rows = [row for invoice in invoices for row in await office.rows(invoice)]
    used = sum(int(row.quantity) for row in rows if str(row.price_type) == "USAGE")
    assert used == sum(start <= moment < ends[-1] for moment in seen), rhythm
    fees = sorted(
        (row.subscription_line_item_id, row.period_start, row.period_end)
        for row in rows
        if str(row.price_type) == "FIXED" and row.subscription_line_item_id and row.period_start and row.period_end
    )
    for (item, _, end), (same, begins, _) in pairwise(fees):
        assert item != same or end == begins, rhythm
