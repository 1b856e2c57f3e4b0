"""A company that sells through cloud marketplaces."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.billing.office import Office


@pytest.fixture
async def office(account: Account) -> Office:
    """A billing office on the first of January 2026 that computes and finalizes without delay."""
    office = Office(account)
    await office.on("2026-01-01")
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    return office
