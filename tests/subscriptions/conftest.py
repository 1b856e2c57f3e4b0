"""A shop for every test, on the first of April 2026."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.subscriptions.shop import Shop


@pytest.fixture
async def shop(account: Account) -> Shop:
    shop = Shop(account)
    await shop.on("2026-04-01")
    return shop
