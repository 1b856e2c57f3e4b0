"""What a marketplace was told adds up to the usage of the invoice, whatever came late, was withdrawn or failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.billing.collection.test_collection import to
from tests.billing.counter import opened
from tests.marketplaces.documented_markets import Market
from tests.marketplaces.seller import AWS, Seller, agree, connection_to, recorded
from tests.subscriptions.shop import fixed
from tests.thorough import examples

_LIVES = count(1)
DAY, CENTS = datetime(2026, 1, 1, tzinfo=UTC), 3
FAULTS = [None, None, "unanswered", "lost", "done 500", 500, 429, "unprocessed", "away"]


@dataclass(frozen=True)
class Usage:
    """One event of the day: when it was, when we hear of it, how long after that it is withdrawn, if it is."""

    hour: int
    late: int
    withdrawn_after: int | None

    @property
    def arrives(self) -> int:
        return min(self.hour + self.late, 23)

    def counts_at(self, run: int) -> bool:
        """Whether it counts for a run at this hour. A run comes ten minutes past, events half past."""
        gone = self.withdrawn_after is not None and self.arrives + 1 + self.withdrawn_after <= min(run, 23)
        return self.arrives < run and not gone


def told(usages: list[Usage], runs: list[int]) -> int:
    """The quantity that records come to, by a model: each hour's total, as known by its run, at least all before."""
    recorded, until = 0, 0
    for run in runs:
        for hour in range(until + 1, run + 1):
            total = CENTS * sum(usage.hour < hour and usage.counts_at(run) for usage in usages)
            recorded = max(recorded, total)
        until = run
    return recorded


@settings(max_examples=examples(2, 10))
@given(
    usages=st.lists(
        st.builds(Usage, st.integers(0, 22), st.integers(0, 9), st.none() | st.integers(0, 4)), min_size=1, max_size=12
    ),
    pauses=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    faults=st.lists(st.sampled_from(FAULTS), max_size=8),
)
async def test_reports_add_up_to_the_invoice(
    seller: Seller, usages: list[Usage], pauses: list[int], faults: list[Any]
) -> None:
    runs = sorted({hour for place in range(len(pauses)) if (hour := sum(pauses[: place + 1])) < 24} | {24})
    market, customer, subscription, feature = await _sold(seller)
    waiting, arrived = list(faults), set[int]()
    withdrawn: set[int] = set()
    for run in runs:
        for number, usage in enumerate(usages):
            if number not in arrived and usage.arrives < run:
                arrived.add(number)
                await _arrive(seller, customer, subscription, feature, number, usage)
            if number in arrived - withdrawn and not usage.counts_at(run):
                withdrawn.add(number)
                await seller.office.account.delete(f"/events/{subscription['id']}-{number}")
        fault = waiting.pop(0) if waiting else None
        moment = (DAY + timedelta(hours=run, minutes=10)).replace(tzinfo=None).isoformat()
        if fault == "away":
            await recorded(seller.office, moment)
            await seller.reports(moment, seller.marketplaces("http://127.0.0.1:9"))
            continue
        if fault is not None:
            market.faults.append(fault)
        await seller.runs(moment)
        market.faults.clear()
    for later in (26, 28):  # what failed at last is told by then
        await seller.reports((DAY + timedelta(hours=later, minutes=10)).replace(tzinfo=None).isoformat())
    buyer = customer["external_id"]
    sold = sum(quantity for (who, _, _), (quantity, _) in market.taken.items() if who == buyer)
    assert sold == told(usages, runs)
    if not withdrawn:
        assert sold == await _invoiced(seller, customer) * 100


async def _sold(seller: Seller) -> tuple[Market, Any, Any, str]:
    """A customer at AWS of their own, charged by the day."""
    office, number = seller.office, next(_LIVES)
    await office.on("2026-01-01")
    if not (await office.account.get("/connections"))["connections"]:
        await office.account.post("/connections", connection_to("aws", office.account.environment_id))
    daily: dict[str, Any] = {"billing_period": "DAILY"}
    feature, customer = await office.feature(f"calls {number}"), await office.customer()
    plan = await office.plan(fixed("10", **daily), office.usage(feature, f"0.0{CENTS}", **daily))
    subscription = await opened(office, plan, customer, **daily)
    terms = {"license_arn": f"arn:{number}", "customer_aws_account_id": customer["external_id"]}
    await agree(office, subscription, aws={**AWS, **terms, "product_code": f"prod-{number}"})
    return seller.market(), customer, subscription, feature["lookup_key"]


async def _arrive(seller: Seller, customer: Any, subscription: Any, feature: str, number: int, usage: Usage) -> None:
    event = {
        "event_id": f"{subscription['id']}-{number}",
        "event_name": feature,
        "external_customer_id": customer["external_id"],
        "timestamp": (DAY + timedelta(hours=usage.hour, minutes=30)).isoformat(),
    }
    await seller.office.account.post("/events", event, 202)


async def _invoiced(seller: Seller, customer: Any) -> Decimal:
    """What the day's usage is on the invoices."""
    account = seller.office.account
    await to(seller.office, "2026-01-02")
    lines = [
        line
        for invoice in (await account.get("/invoices", customer_id=customer["id"]))["items"]
        for line in (await account.get(f"/invoices/{invoice['id']}"))["line_items"]
        if line["price_type"] == "USAGE"
    ]
    return sum((Decimal(line["amount"]) for line in lines), Decimal(0))
