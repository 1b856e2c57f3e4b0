"""Two tenants: one has books, the other is to have them."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.billing.office import Office
from tests.migration.removal import MOVED_ON, Removal, fill


@pytest.fixture
async def removal(account: Account, stranger: Account) -> Removal:
    """A company with two months of books, and an empty environment at the same moment."""
    source, target = Office(account), Office(stranger)
    for office in (source, target):
        await office.on("2026-01-01")
        await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    await fill(source)
    await target.on(MOVED_ON)
    return Removal(source, target)
