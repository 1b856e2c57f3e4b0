"""A company that has books, filled once for each worker, and an empty environment that is to have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.billing.office import Office
from tests.migration.removal import MOVED_ON, Removal, fill


@pytest.fixture(scope="session")
async def source(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Office]:
    """Two months of books. Many tests copy them, so nobody may change them."""
    async with Account(base_url, settings, database) as account:
        yield await filled(account)


async def filled(account: Account) -> Office:
    """The office of a tenant that is given the books."""
    office = await Office(account).set_up()
    await fill(office)
    return office


@pytest.fixture
async def removal(source: Office, stranger: Account) -> Removal:
    """The company, and an empty environment at the same moment."""
    return await removal_of(source, stranger)


async def removal_of(source: Office, account: Account) -> Removal:
    """The company, and the environment of another tenant at the same moment."""
    target = await Office(account).set_up()
    await target.on(MOVED_ON)
    return Removal(source, target)


@pytest.fixture
async def own_removal(account: Account, stranger: Account) -> Removal:
    """The same of a company that may go on with its books."""
    return await removal_of(await filled(account), stranger)
