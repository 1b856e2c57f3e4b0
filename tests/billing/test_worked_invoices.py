"""The worked invoices of the billing rules, through the whole engine."""

from __future__ import annotations

import pytest

from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def test_i1_an_advance_fee_and_usage(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.02"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 1000, "2026-01-20")
    await office.run("2026-02-01")
    assert await office.billed(subscription) == [
        ("CREATE", "01-01..02-01", "50.00"),
        ("CYCLE", "01-01..02-01", "70.00"),
    ]
