"""Commitments for each window of a meter, on real invoices; times of day are those of UTC."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.money import plain
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office

pytestmark = pytest.mark.usefixtures("proven")

AFTERNOON = {"start": {"hour": 12, "minute": 0}, "end": {"hour": 24, "minute": 0}}


async def _selling(
    office: Office, size: str, price: str, commitment: dict[str, Any], **more: Any
) -> tuple[Subscription, dict[str, Any]]:
    """A subscription to a summed meter with buckets of `size`, sold at `price`, committed to for each of them."""
    zone = more.pop("timezone", "UTC")
    rhythm = {name: more[name] for name in ("billing_period", "billing_period_count") if name in more}
    feature = await office.feature("units", type="SUM", field="n", bucket_size=size)
    plan = await office.plan(office.usage(feature, price, **rhythm))
    customer = await office.customer(timezone=zone)
    commitments = {plan["prices"][0]["id"]: {"is_window_commitment": True, **commitment}}
    return await office.subscribed(plan, customer, line_item_commitments=commitments, **more), customer


async def _charged(office: Office, subscription: Subscription) -> tuple[str, tuple[str, str, str]]:
    """The newest invoice's one amount, and what of it was utilized, overage and true-up."""
    newest = (await office.invoices(subscription))[-1]
    (row,) = await office.rows(newest)
    info = row.commitment_info or {}
    assert info["is_windowed"] is True
    utilized, overage, true_up = (
        info[f"computed_{name}_amount"] for name in ("commitment_utilized", "overage", "true_up")
    )
    return plain(row.amount), (utilized, overage, true_up)


@pytest.mark.parametrize(
    ("days", "charged"),
    [
        pytest.param(2, ("32", ("14", "12", "6")), id="C11 two days"),
        pytest.param(5, ("62", ("14", "12", "36")), id="empty days are trued up"),
    ],
)
async def test_c11_a_commitment_for_each_day(office: Office, days: int, charged: tuple[str, Any]) -> None:
    commitment = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
    subscription, customer = await _selling(
        office, "DAY", "2", commitment, billing_period="DAILY", billing_period_count=days
    )
    await office.recorded("units", customer, ("2026-01-01T10:00", {"n": 2}), ("2026-01-02T10:00", {"n": 8}))
    await office.run(f"2026-01-0{days + 1}")
    assert await _charged(office, subscription) == charged


async def test_a_running_period_is_trued_up_to_now_only(office: Office) -> None:
    commitment = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
    subscription, _ = await _selling(office, "DAY", "2", commitment)
    await office.on("2026-01-04")
    assert (await office.previewed(subscription))[0] == "30.00"
    await office.run("2026-02-01")
    assert await office.totals(subscription) == ["310.00"]


async def test_days_in_a_pause_owe_no_true_up(office: Office) -> None:
    commitment = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
    subscription, customer = await _selling(office, "DAY", "2", commitment)
    await office.recorded("units", customer, ("2026-01-11", {"n": 100}))
    await office.on("2026-01-10")
    await office.account.post(f"/subscriptions/{subscription.id}/pause", {}, expect=200)
    await office.on("2026-01-15")
    await office.account.post(f"/subscriptions/{subscription.id}/resume", {}, expect=200)
    await office.run("2026-02-06")
    # January and the five days that the pause has added, without the five that it took
    assert await office.totals(subscription) == ["310.00"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
async def test_c12_times_of_day_have_terms_of_their_own(office: Office, zone: str) -> None:
    await office.on("2026-01-05T12:00")
    bucket_price = (await office.plan(office.usage(await office.feature("other"), "2"), name="Other"))["prices"][0]
    commitment = {
        "commitment_amount": "10",
        "overage_factor": "2",
        "enable_true_up": True,
        "commitment_time_buckets": [
            {
                **AFTERNOON,
                "commitment_type": "amount",
                "commitment_value": "5",
                "overage_factor": "2",
                "price_id": bucket_price["id"],
            }
        ],
    }
    subscription, customer = await _selling(
        office,
        "12HOUR",
        "1",
        commitment,
        timezone=zone,
        billing_period="DAILY",
        billing_period_count=2,
        end_date="2026-01-07T00:00:00Z",
    )
    await office.recorded(
        "units",
        customer,
        ("2026-01-05T12:00", {"n": 4}),
        ("2026-01-05T23:59:59", {"n": 6}),
        ("2026-01-06T11:59", {"n": 3}),
        ("2026-01-06T12:00", {"n": 1}),
    )
    await office.run("2026-01-07T12:00")
    assert await _charged(office, subscription) == ("47", ("10", "30", "7"))


async def test_c13_times_of_day_without_a_commitment_beside_them(office: Office) -> None:
    bucket_price = (await office.plan(office.usage(await office.feature("other"), "1"), name="Other"))["prices"][0]
    commitment = {
        "commitment_time_buckets": [
            {
                **AFTERNOON,
                "commitment_type": "quantity",
                "commitment_value": "4",
                "overage_factor": "2",
                "price_id": bucket_price["id"],
            }
        ]
    }
    subscription, customer = await _selling(
        office, "HOUR", "3", commitment, billing_period="DAILY", timezone="America/New_York"
    )
    await office.recorded("units", customer, ("2026-01-01T11:30", {"n": 5}), ("2026-01-01T20:00", {"n": 10}))
    preview = await office.previewed(subscription)
    await office.run("2026-01-02T05:00")
    # 4 + 6 x 2 in the afternoon; 5 x 3 in the morning, which nothing was committed to for
    assert await _charged(office, subscription) == ("31", ("19", "12", "0"))
    assert preview[0] == "31.00"


async def test_a_range_over_midnight_and_true_up_in_it_alone(office: Office) -> None:
    commitment = {
        "commitment_time_buckets": [
            {
                "start": {"hour": 18, "minute": 0},
                "end": {"hour": 6, "minute": 0},
                "commitment_type": "amount",
                "commitment_value": "7",
                "true_up_enabled": True,
            }
        ]
    }
    subscription, customer = await _selling(office, "6HOUR", "1", commitment, billing_period="DAILY")
    await office.recorded("units", customer, ("2026-01-01T05:00", {"n": 9}), ("2026-01-01T06:00", {"n": 2}))
    await office.run("2026-01-02")
    # [0, 6): 7 and 2 over; [6, 12): 2; [12, 18): nothing; [18, 24): trued up to 7
    assert await _charged(office, subscription) == ("18", ("9", "2", "7"))


async def test_months_of_the_anchor_with_a_commitment_each(office: Office) -> None:
    await office.on("2026-01-31")
    commitment = {"commitment_amount": "10", "overage_factor": "2", "enable_true_up": True}
    subscription, customer = await _selling(office, "MONTH", "1", commitment, billing_period="QUARTERLY")
    # January 31, February 28, March 31: 4 and 12 and nothing
    await office.recorded("units", customer, ("2026-02-27T23:59", {"n": 4}), ("2026-02-28", {"n": 12}))
    await office.run("2026-04-30")
    assert await _charged(office, subscription) == ("34", ("14", "4", "16"))
