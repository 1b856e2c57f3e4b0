"""A company that sells through cloud marketplaces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.account import Account
from tests.billing.office import Office
from tests.marketplaces.documented_markets import DocumentedMarkets, serving_markets
from tests.marketplaces.seller import Seller


@pytest.fixture
async def office(account: Account) -> Office:
    """A billing office on the first of January 2026 that computes and finalizes without delay."""
    return await Office(account).set_up()


@pytest.fixture(scope="session")
async def markets() -> AsyncIterator[DocumentedMarkets]:
    """The marketplaces."""
    async with serving_markets() as markets:
        yield markets


@pytest.fixture
def seller(office: Office, markets: DocumentedMarkets) -> Seller:
    """Who sells at them."""
    return Seller(office, markets)
