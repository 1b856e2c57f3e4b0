"""What is kept of imports and exports for a time: uploads, the bad rows of imports, files in the export folder."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from farthing.core.clock import FixedClock
from farthing.transfer.exports.retention import forget_exported_files
from farthing.transfer.files import forget_expired
from farthing.transfer.tasks.lifecycle import PROBLEMS_KEPT, forget_old_problems
from tests.transfer.office import TransferOffice


async def test_uploads_are_forgotten_when_they_expire(office: TransferOffice) -> None:
    await office.upload(b"external_id\nx\n")

    async def forgotten(at: datetime) -> int:
        async with office.account.transaction() as session:
            session.info["real_clock"] = FixedClock(at)
            return await forget_expired(session, at)

    now = office.database.clock.now()
    assert await forgotten(now) == 0
    assert await forgotten(now + timedelta(days=400)) == 1
    assert await forgotten(now + timedelta(days=400)) == 0


async def test_bad_rows_of_old_imports_are_forgotten(office: TransferOffice) -> None:
    task = await office.imported("CUSTOMERS", b"external_id,email\nacme,\nbolt,nonsense\n")
    assert len(await office.problems(task["id"])) == 1

    async def forgotten(at: datetime) -> int:
        async with office.account.transaction() as session:
            return await forget_old_problems(session, at)

    now = office.database.clock.now()
    assert await forgotten(now + PROBLEMS_KEPT - timedelta(days=1)) == 0
    assert len(await office.problems(task["id"])) == 1
    assert await forgotten(now + PROBLEMS_KEPT + timedelta(days=1)) == 1
    assert await office.problems(task["id"]) == []


def test_old_files_in_the_export_folder_are_forgotten(office: TransferOffice, tmp_path: Path) -> None:
    now = office.database.clock.now()
    settings = msgspec.structs.replace(office.settings, export_dir=str(tmp_path), export_retention_days=10)
    for name, days in (("old", 11), ("new", 9)):
        file = tmp_path / "schedule" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
        at = (now - timedelta(days=days)).timestamp()
        os.utime(file, (at, at))
    assert forget_exported_files(msgspec.structs.replace(settings, export_retention_days=0), now) == 0
    assert forget_exported_files(settings, now) == 1
    assert [path.name for path in (tmp_path / "schedule").iterdir()] == ["new"]
