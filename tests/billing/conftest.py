"""A shop whose subscriptions are billed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from farthing.billing.proof.budgets import coupon_differences
from farthing.billing.proof.invoices import prove
from farthing.billing.proof.settlements import settlement_differences
from farthing.invoices.tables import Invoice
from tests.account import Account
from tests.billing.office import Office


@pytest.fixture
async def office(account: Account) -> Office:
    """A billing office on the first of January 2026 that computes and finalizes without delay."""
    return await Office(account).set_up()


@pytest.fixture
async def proven(office: Office) -> AsyncIterator[None]:
    """When the test is over, every line of every invoice is what its record and the events say, and every coupon and
    settlement is what the lines say."""
    yield
    async with office.account.transaction(read_only=True) as session:
        proof = await prove(session, (await session.scalars(select(Invoice))).all())
        beside = [*await coupon_differences(session), *await settlement_differences(session)]
    assert [*proof.differences, *beside] == []
