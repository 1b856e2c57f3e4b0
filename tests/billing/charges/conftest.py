"""An office whose payers are invoiced in currencies of their own."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.billing.charges.bureau import Bureau


@pytest.fixture
async def bureau(account: Account) -> Bureau:
    bureau = Bureau(account)
    await bureau.on("2026-03-01")
    await bureau.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    return bureau
