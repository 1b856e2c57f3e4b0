"""Files that are sent or served by somebody who means ill: slowly, many at once, or both."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from farthing.core.errors import TooManyRequests
from farthing.storage.postgres import Database
from farthing.transfer import files, running
from farthing.transfer.enums import ImportEntity, ImportFileType, TaskType
from farthing.transfer.imports.files import fetching
from farthing.transfer.schemas import CreateTaskRequest
from farthing.transfer.tables import StoredFile
from farthing.transfer.tasks.creation import create_import
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running as serving
from tests.conftest import settings_for
from tests.transfer.office import TransferOffice
from tests.waiting import until
from tests.web.stage import Stage
from tests.web.visitor import Visitor

FILE = b"external_id,name\nacme,Acme\n"


class _DrippingServer:
    """Answers with a byte of a large file now and then, and never comes to its end."""

    def __init__(self) -> None:
        self.address = socket.create_server(("127.0.0.1", 0))
        self.asked = 0
        self._ending = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address.getsockname()[1]}/file.csv"

    async def is_asked(self) -> bool:
        return self.asked > 0

    def end(self) -> None:
        self._ending.set()
        self.address.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._drip, args=self.address.accept()[:1], daemon=True).start()

    def _drip(self, visitor: socket.socket) -> None:
        self.asked += 1
        with visitor, suppress(OSError):
            visitor.recv(65536)
            visitor.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not self._ending.wait(0.05):
                visitor.sendall(b"x")


@pytest.fixture
def dripping() -> Iterator[_DrippingServer]:
    server = _DrippingServer()
    yield server
    server.end()


async def _queue_fetched(office: TransferOffice, url: str) -> str:
    request = CreateTaskRequest(
        task_type=TaskType.IMPORT, entity_type=ImportEntity.CUSTOMERS, file_type=ImportFileType.CSV, file_url=url
    )
    async with office.database.transaction(office.scope) as session:
        return (await create_import(session, request, office.settings)).id


async def test_servers_that_drip_keep_no_place_from_another_import(
    office: TransferOffice, dripping: _DrippingServer
) -> None:
    office = office.with_settings(transfer_allow_private=True)
    for _ in range(running.MOST_AT_ONCE):
        await _queue_fetched(office, dripping.url)
    task_id = await office.begin_import("CUSTOMERS", FILE)
    working = asyncio.create_task(office.work())
    try:
        await until(dripping.is_asked)

        async def is_imported() -> bool:
            return (await office.task(task_id))["task_status"] == "COMPLETED"

        await until(is_imported)
        assert dripping.asked == 1, "one file of a tenant is fetched at a time"
    finally:
        working.cancel()
        await asyncio.wait([working])


async def test_a_server_that_drips_is_not_waited_for(
    office: TransferOffice, dripping: _DrippingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE_SECONDS", 0.2)
    office = office.with_settings(transfer_allow_private=True)
    task_id = await _queue_fetched(office, dripping.url)
    await office.work()
    task = await office.task(task_id)
    assert (task["task_status"], task["error_summary"]) == (
        "FAILED",
        "The file cannot be fetched: the server sends too slowly",
    )


async def test_files_that_are_still_fetched_are_left_to_the_next_run(
    office: TransferOffice, dripping: _DrippingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ENOUGH", timedelta(seconds=0.5))
    office = office.with_settings(transfer_allow_private=True)
    task_id = await _queue_fetched(office, dripping.url)
    await office.work()
    assert dripping.asked <= 1
    assert (await office.task(task_id))["task_status"] == "PROCESSING"
    async with office.database.transaction(office.scope) as session:
        kept = await session.execute(select(StoredFile.id))
    assert kept.all() == []


async def test_files_that_arrive_at_once_do_not_exceed_what_is_kept(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE_BYTES", 1024)
    monkeypatch.setattr(files, "MOST_STORED_BYTES", 10 * 1024)
    now = office.database.clock.now()

    async def arriving() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 1024
            await asyncio.sleep(0)

    uploads = [files.receive_file(office.database, office.scope, "a", arriving(), now) for _ in range(5)]
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    stored = sum(outcome[1] for outcome in outcomes if not isinstance(outcome, BaseException))
    assert stored <= 10 * 1024
    assert any(isinstance(outcome, TooManyRequests) for outcome in outcomes)


async def test_many_small_files_are_no_way_around_what_is_kept(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_STORED_BYTES", 3 * files.PIECE_BYTES)
    for _ in range(3):
        await office.upload(FILE)
    refused = await office.account.http.post("/tasks/uploads", content=FILE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(files.RETRY_AFTER_SECONDS))


async def test_a_file_that_arrives_slowly_holds_no_turn_at_the_database(new_database: Callable[..., str]) -> None:
    """Neither over the API, with a key or without, nor from a form: the tenant has one turn, and others use it."""
    settings = settings_for(new_database(), tenant_connections=1, connection_wait_seconds=2)
    assert settings.database_url is not None
    database = Database(settings.database_url, wire(), pool_size=10)
    async with serving(settings, database) as url, Account(url, settings, database) as account:
        arriving, ends = asyncio.Semaphore(0), asyncio.Event()

        async def slowly(beginning: bytes, end: bytes) -> AsyncIterator[bytes]:
            yield beginning + FILE
            arriving.release()
            await ends.wait()
            yield end

        async def upload(**headers: str) -> httpx.Response:
            return await account.http.post("/tasks/uploads", content=slowly(b"", b""), headers=headers)

        visitor = await Visitor(account).sign_in(await Stage(account).admit())
        async with aclosing(visitor.http) as browser:
            fields = {"form_token": await visitor.token("/tasks"), "entity": "CUSTOMERS"}
            named = '--cut\r\ncontent-disposition: form-data; name="{}"\r\n\r\n{}\r\n'
            parts = "".join(named.format(name, value) for name, value in fields.items())
            file_part = '--cut\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
            form = browser.post(
                "/tasks/imports",
                content=slowly((parts + file_part).encode(), b"\r\n--cut--\r\n"),
                headers={"content-type": "multipart/form-data; boundary=cut"},
            )
            sending = [asyncio.create_task(each) for each in (upload(), upload(**{"idempotency-key": "one"}), form)]
            for _ in sending:
                await arriving.acquire()
            await asyncio.sleep(0.2)  # so long nothing must take the turn
            assert (await account.http.get("/customers")).status_code == 200
            ends.set()
            answers = await asyncio.gather(*sending)
        assert [answer.status_code for answer in answers] == [201, 201, 303]
        assert answers[2].headers["location"].startswith("/tasks/")
    await database.close()
