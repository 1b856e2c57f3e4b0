"""A seller whose e-invoice settings are complete."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.invoices.einvoice.exporter import Exporter


@pytest.fixture
async def exporter(account: Account) -> Exporter:
    """A seller of whom everything is said."""
    seller = Exporter(account)
    await seller.configure()
    return seller
