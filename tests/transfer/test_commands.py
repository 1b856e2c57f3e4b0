"""`farthing import` and `farthing export`, also killed in the middle."""

from __future__ import annotations

import asyncio
import csv
import io
import os
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from farthing.cli import app as command_line
from farthing.transfer.commands import RequestedExport, RequestedImport, export_file, import_file
from farthing.transfer.enums import ExportEntity, ImportEntity
from tests.processes import ForkedProcess
from tests.transfer.office import TransferOffice

pytestmark = pytest.mark.asyncio

SECRET = "a master key for tests only"
ROWS = 20_000


def _console() -> Console:
    return Console(file=io.StringIO(), width=200)


def _printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _requested(office: TransferOffice, entity: str, file: Path, *, dry_run: bool = False) -> RequestedImport:
    return RequestedImport(ImportEntity(entity), file, office.account.environment_id, dry_run)


async def test_a_file_is_tried_imported_and_exported(office: TransferOffice, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("external_id,name,email\nacme,Acme,\nbolt,Bolt,nonsense\n")
    for dry_run, wording in ((True, "1 rows would be imported, 1 failed"), (False, "1 rows imported, 1 failed")):
        console = _console()
        requested = _requested(office, "CUSTOMERS", file, dry_run=dry_run)
        assert await import_file(office.settings, office.database, console, requested) == 1
        assert "row 2 (line 3) email: " in _printed(console)
        assert wording in _printed(console)
    target = tmp_path / "out.csv"
    asked = RequestedExport(ExportEntity.CREDIT_USAGE, target, None, None, office.account.environment_id)
    assert await export_file(office.settings, office.database, _console(), asked) == 0
    rows = list(csv.DictReader(target.open()))
    assert [row["customer_external_id"] for row in rows] == ["acme"]
    assert set(await asyncio.to_thread(os.listdir, tmp_path)) == {"customers.csv", "out.csv"}


def _command(*arguments: str) -> None:
    command_line(arguments, exit_on_error=False)


@pytest.mark.slow
async def test_an_import_that_is_killed_goes_on_and_counts_nothing_twice(
    office: TransferOffice, tmp_path: Path, database_url: str
) -> None:
    file = tmp_path / "events.csv"
    head = "event_name,external_customer_id,timestamp,properties.tokens\n"
    file.write_text(head + "".join(f"call,acme,2026-01-02T03:04:05Z,{number}\n" for number in range(ROWS)))
    environment = {"FARTHING_DATABASE_URL": database_url, "FARTHING_SECRET_KEY": SECRET, "FARTHING_LOG_LEVEL": "error"}
    arguments = ("import", "events", str(file), "--environment", office.account.environment_id)
    output = tmp_path / "output"
    killed = ForkedProcess(_command, *arguments, environment=environment, output=output)
    try:
        while not await _processed(office) > 0:
            assert killed.poll() is None, output.read_text()
            await asyncio.sleep(0.01)
    finally:
        killed.kill()
        killed.wait()
    reached = await _processed(office)
    assert 0 < reached < ROWS
    again = ForkedProcess(_command, *arguments, environment=environment, output=output)
    assert await asyncio.to_thread(again.wait) == 0, output.read_text()
    assert "it goes on" in output.read_text()
    (task,) = (await office.account.get("/tasks"))["items"]
    assert (task["task_status"], task["processed_records"], task["failed_records"]) == ("COMPLETED", ROWS, 0)
    query = {"start_time": "2026-01-01T00:00:00Z", "page_size": 1}
    assert (await office.account.post("/events/query", query, expect=200))["total_count"] == ROWS
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT set_config('farthing.environment_id', %s, true)", (office.account.environment_id,))
        assert connection.execute("SELECT count(DISTINCT properties) FROM events").fetchone() == (ROWS,)


async def _processed(office: TransferOffice) -> int:
    tasks = (await office.account.get("/tasks"))["items"]
    return int(tasks[0]["processed_records"]) if tasks else 0
