from __future__ import annotations

import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.transfer.office import TransferOffice


@pytest.fixture
def office(account: Account, database: Database, settings: Settings) -> TransferOffice:
    return TransferOffice(account, database, settings)
