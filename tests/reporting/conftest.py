"""A company whose figures are looked at."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.reporting.ledger import Ledger


@pytest.fixture
async def ledger(account: Account) -> Ledger:
    """A company on the first of January 2026 that computes and finalizes without delay."""
    ledger = Ledger(account)
    await ledger.on("2026-01-01")
    await ledger.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    return ledger
