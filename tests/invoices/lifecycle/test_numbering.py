"""Invoice numbers: unique, in order, without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed


async def configure(account: Account, **config: Any) -> None:
    await account.put("/settings/invoice_config", {"value": config})


async def numbered(desk: Desk, customer: str, at: datetime | None = None) -> str:
    if at is not None:
        await desk.account.freeze(at)
    return str((await desk.invoice([fixed("1")], customer))["invoice_number"])


async def test_a_new_month_begins_a_new_sequence(account: Account) -> None:
    """The worked example W31."""
    desk = Desk(account)
    customer = await desk.customer()
    assert await numbered(desk, customer, datetime(2025, 1, 15, tzinfo=UTC)) == "INV-202501-00001"
    assert await numbered(desk, customer, datetime(2025, 2, 1, tzinfo=UTC)) == "INV-202502-00001"
    assert await numbered(desk, customer) == "INV-202502-00002"


@pytest.mark.parametrize(
    ("config", "at", "expected"),
    [
        pytest.param(
            {"timezone": "Asia/Kolkata"},
            datetime(2025, 1, 31, 23, 30, tzinfo=UTC),
            "INV-202502-00001",
            id="late in January in London is February in Kolkata (W32)",
        ),
        pytest.param(
            {"timezone": "America/New_York"},
            datetime(2025, 2, 1, 3, tzinfo=UTC),
            "INV-202501-00001",
            id="early in February in London is January in New York (W32)",
        ),
        pytest.param(
            {"timezone": "EST"},
            datetime(2025, 2, 1, 3, tzinfo=UTC),
            "INV-202501-00001",
            id="an abbreviation stands for its zone",
        ),
        pytest.param({"separator": ""}, datetime(2025, 2, 2, tzinfo=UTC), "INV20250200001", id="no separator (W32)"),
        pytest.param(
            {"prefix": "B", "separator": "", "format": "YY", "suffix_length": 3, "start_sequence": 7},
            datetime(2025, 2, 2, tzinfo=UTC),
            "B25007",
            id="a house style of one's own, from seven on",
        ),
        pytest.param(
            {"suffix_length": 2, "start_sequence": 1234},
            datetime(2025, 2, 2, tzinfo=UTC),
            "INV-202502-1234",
            id="a sequence longer than its suffix is printed in full",
        ),
        pytest.param(
            {"format": "YYYYMMDD"}, datetime(2025, 2, 2, tzinfo=UTC), "INV-20250202-00001", id="a bucket per day"
        ),
    ],
)
async def test_format(account: Account, config: Mapping[str, Any], at: datetime, expected: str) -> None:
    desk = Desk(account)
    await configure(account, **config)
    assert await numbered(desk, await desk.customer(), at) == expected


async def test_changing_the_prefix_does_not_restart_the_sequence(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    await numbered(desk, customer, datetime(2025, 3, 1, tzinfo=UTC))
    await configure(account, prefix="RE")
    assert await numbered(desk, customer) == "RE-202503-00002"


async def test_a_number_in_use_is_passed_over(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    await account.freeze(datetime(2025, 3, 1, tzinfo=UTC))
    for taken in ("INV-202503-00001", "INV-202503-00002"):
        own = await desk.invoice([fixed("1")], customer, invoice_number=taken)
        assert own["invoice_number"] == taken
    assert await numbered(desk, customer) == "INV-202503-00003"
    again = await desk.invoice([fixed("1")], customer, invoice_number="INV-202503-00003", expect=409)
    assert again["code"] == "already_exists"
    assert again["details"] == {"invoice_number": "INV-202503-00003"}


async def test_a_hundred_clashes_are_the_most_that_are_tried(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    await account.freeze(datetime(2025, 3, 1, tzinfo=UTC))
    for first in range(1, 101, 5):  # few at once: a tenant may not hold all connections for long
        numbers = range(first, first + 5)
        await asyncio.gather(
            *(desk.invoice([fixed("1")], customer, invoice_number=f"INV-202503-{n:05d}") for n in numbers)
        )
    refused = await desk.invoice([fixed("1")], customer, expect=400)
    assert refused["code"] == "invalid_operation"
    # nothing of the refused invoice is left
    assert (await account.get("/invoices", limit=1))["pagination"]["total"] == 100


async def test_only_a_finalized_invoice_has_a_number_and_a_voided_one_keeps_it(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    draft = await desk.invoice([fixed("1")], customer, invoice_status="DRAFT")
    assert draft["invoice_number"] is None
    made = await desk.invoice([fixed("75")], customer)
    await account.post(f"/invoices/{made['id']}/void", expect=200)
    voided = await desk.get(made)
    assert (voided["invoice_status"], voided["payment_status"]) == ("VOIDED", "PENDING")
    assert voided["invoice_number"] == made["invoice_number"]
    following = await desk.invoice([fixed("1")], customer)
    assert following["invoice_number"].endswith("-00002")


async def test_twenty_finalizations_at_once_take_twenty_numbers_in_a_row(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    drafts = [await desk.invoice([fixed("1")], customer, invoice_status="DRAFT") for _ in range(20)]
    await asyncio.gather(*(account.post(f"/invoices/{draft['id']}/finalize", expect=200) for draft in drafts))
    numbers = sorted([(await desk.get(draft))["invoice_number"] for draft in drafts])
    assert [int(number.rsplit("-")[-1]) for number in numbers] == list(range(1, 21))


async def test_a_finalization_that_fails_leaves_no_gap(account: Account) -> None:
    desk = Desk(account)
    customer = await desk.customer()
    await desk.invoice([fixed("1")], customer, amount_paid="2", expect=400)
    made = await desk.invoice([fixed("1")], customer)
    assert made["invoice_number"].endswith("-00001")
