"""The largest amount: 10^15 in any currency is billed; beyond is refused in words that name the field or the line."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed

LARGEST = "1000000000000000"


@pytest.mark.parametrize("currency", ["usd", "jpy", "kwd", "idr"])
async def test_the_largest_amount_is_billed_and_paid(account: Account, currency: str) -> None:
    desk = Desk(account)
    made = await desk.invoice([fixed(LARGEST)], currency=currency, amount_paid=LARGEST)
    assert (made["total"], made["amount_paid"], made["amount_remaining"]) == (LARGEST, LARGEST, "0")
    customer = made["customer_id"]
    for _ in range(12):  # a sum of many has room too
        await desk.invoice([fixed(LARGEST)], currency=currency, customer=customer)
    (summary,) = (await account.get(f"/customers/{customer}/invoices/summary"))["summaries"]
    assert summary["total_revenue_amount"] == "13000000000000000"


async def test_a_line_beyond_is_refused(account: Account) -> None:
    refused = await Desk(account).invoice([fixed("1000000000000000.01")], expect=400)
    assert refused["details"]["line_items[0].amount"] == f"must be at most {LARGEST}"


async def test_a_sum_beyond_is_refused_by_its_name(account: Account) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed(LARGEST)], invoice_status="DRAFT")
    params = {"action": "add", "items": [{"display_name": "More", "amount": "1", "quantity": "1"}]}
    refused = await account.post(
        f"/invoices/{draft['id']}/modify/execute", {"type": "line_item", "line_item_params": params}, expect=400
    )
    assert refused["details"].keys() == {"subtotal"}
    assert refused["message"] == f"the subtotal of the invoice would be 1000000000000001; it must be at most {LARGEST}"
