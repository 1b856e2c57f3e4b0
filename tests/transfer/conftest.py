from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.transfer.office import TransferOffice


@pytest.fixture
def office(account: Account, database: Database, settings: Settings, tmp_path: Path) -> TransferOffice:
    return TransferOffice(account, database, msgspec.structs.replace(settings, export_dir=str(tmp_path / "exports")))
