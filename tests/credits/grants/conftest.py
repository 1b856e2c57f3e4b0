"""An office whose customers are granted credits."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.credits.grants.granting import GrantingOffice


@pytest.fixture
async def office(account: Account) -> GrantingOffice:
    office = GrantingOffice(account)
    await office.on("2025-01-01")
    return office
