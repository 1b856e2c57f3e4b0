"""Exports to a bucket of what speaks like S3, and files that are fetched; neither from nor to private hosts."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from farthing.invoices.ports import InvoicePorts
from farthing.notifications.webhooks.delivery import client
from farthing.notifications.webhooks.delivery.addresses import refusal_of
from farthing.payments.integrations.gateways import Gateways
from farthing.transfer.connection_trial import ConnectionTrial, try_connection
from farthing.transfer.exports.links import download_link
from farthing.transfer.exports.places import Bucket, PlaceFailed
from farthing.transfer.schemas import ExportJobConfig
from tests.transfer.office import TransferOffice

pytestmark = pytest.mark.asyncio

FILE = b"external_id,name\nacme,Acme\n"


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/file.csv")
            self.end_headers()
            return
        self.send_response(200 if self.path == "/file.csv" else 404)
        self.send_header("content-length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def files() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


async def _fetched(office: TransferOffice, url: str) -> dict[str, Any]:
    """An import of a file that is fetched, queued as an endpoint of a lenient deployment would."""
    from farthing.transfer.enums import ImportEntity, ImportFileType, TaskType
    from farthing.transfer.schemas import CreateTaskRequest
    from farthing.transfer.tasks.creation import create_import

    request = CreateTaskRequest(
        task_type=TaskType.IMPORT, entity_type=ImportEntity.CUSTOMERS, file_type=ImportFileType.CSV, file_url=url
    )
    lenient = office.with_settings(transfer_allow_private=True)
    async with office.database.transaction(office.scope) as session:
        task_id = (await create_import(session, request, lenient.settings)).id
    await office.work()
    return await office.task(task_id)


async def test_a_file_is_fetched(office: TransferOffice, files: str) -> None:
    task = await _fetched(office.with_settings(transfer_allow_private=True), f"{files}/file.csv")
    assert (task["task_status"], task["successful_records"], task["file_url"]) == (
        "COMPLETED",
        1,
        f"{files}/file.csv",
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("/moved", "redirects are not followed", id="a redirect"),
        pytest.param("/gone", "answered 404", id="a file that is not there"),
    ],
)
async def test_a_file_that_cannot_be_fetched_says_why(
    office: TransferOffice, files: str, path: str, reason: str
) -> None:
    task = await _fetched(office.with_settings(transfer_allow_private=True), files + path)
    assert task["task_status"] == "FAILED"
    assert reason in task["error_summary"]


@pytest.mark.parametrize("host", ["localtest.me.invalid", "127.0.0.1", "localhost"])
async def test_nothing_is_fetched_from_private_hosts(office: TransferOffice, files: str, host: str) -> None:
    port = files.rpartition(":")[2]
    task = await _fetched(office, f"http://{host}:{port}/file.csv")
    assert task["task_status"] == "FAILED"
    assert "cannot be fetched" in task["error_summary"]


async def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_connected_to(
    office: TransferOffice, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def lies(host: str, *given: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "files.example.com" else host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lies)
    port = files.rpartition(":")[2]
    task = await _fetched(office, f"https://files.example.com:{port}/file.csv")
    assert "private, loopback" in task["error_summary"]


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("aiobotocore")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    httpx.put(f"{address}/my-exports", headers={"authorization": "AWS4-HMAC-SHA256 Credential=a/b/us-east-1/s3/aws4"})
    yield address
    server.stop()


async def _bucket(office: TransferOffice, storage: str, **config: Any) -> dict[str, Any]:
    connection = await office.account.post(
        "/connections",
        {
            "name": "Bucket",
            "provider_type": "s3",
            "encrypted_secret_data": {"aws_access_key_id": "a", "aws_secret_access_key": "b"},
        },
    )
    target = {"bucket": "my-exports", "region": "us-east-1", "endpoint_url": storage, "use_path_style": True}
    return await office.schedule("credit_usage", connection["id"], job_config={**target, **config})


async def test_an_export_arrives_in_a_bucket(
    office: TransferOffice, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farthing.transfer.exports import places

    await office.imported("CUSTOMERS", b"external_id,name\n" + b"".join(b"c%d,%d\n" % (n, n) for n in range(300)))
    lenient = office.with_settings(transfer_allow_private=True)
    for part_bytes, prefix in ((places.PART_BYTES, "small"), (5 * 1024, "parts")):
        monkeypatch.setattr(places, "PART_BYTES", part_bytes)
        schedule = await _bucket(lenient, storage, key_prefix=prefix, encryption="AES256")
        task = await lenient.export(schedule)
        if prefix == "parts" and task["task_status"] == "FAILED":
            assert "EntityTooSmall" in task["error_summary"]  # parts of a real bucket have 5 MiB
            continue
        assert task["task_status"] == "COMPLETED", task
        assert task["file_url"].startswith(f"s3://my-exports/{prefix}/credit_usage/credit_usage-")
        async with office.database.transaction(office.scope, read_only=True) as session:
            link = await download_link(session, lenient.settings, office.scope, task["id"], datetime.now(UTC))
        content = await asyncio.to_thread(httpx.get, link)
        assert len(content.text.splitlines()) == 301


async def test_a_bucket_that_refuses_and_one_that_is_private(office: TransferOffice, storage: str) -> None:
    lenient = office.with_settings(transfer_allow_private=True)
    task = await lenient.export(await _bucket(lenient, storage, bucket="nobodys"))
    assert "NoSuchBucket" in task["error_summary"]
    task = await office.export(await _bucket(office, storage))
    assert "endpoint_url" in task["error_summary"]


async def test_a_bucket_says_whether_it_is_there_and_holds_nothing_afterwards(
    office: TransferOffice, storage: str
) -> None:
    lenient = office.with_settings(transfer_allow_private=True)
    gateways = Gateways(office.database, lenient.settings, office.database.ports.part(InvoicePorts).hooks)
    said = []
    for bucket in ("my-exports", "nobodys"):
        schedule = await _bucket(lenient, storage, bucket=bucket)
        async with office.database.session(office.scope) as session:
            said.append(await try_connection(session, gateways, lenient.settings, schedule["connection_id"]))
    assert said[0] == ConnectionTrial(works=True, words="The bucket my-exports is there and answers to the key")
    assert (said[1].works, said[1].words[:24]) == (False, "the bucket refused it: 4")


class _Listener:
    """Takes connections to an address of this machine, and answers each with the same bytes."""

    def __init__(self, answer: bytes = b"", address: str = "127.0.0.1") -> None:
        self._answer = answer
        self._server = socket.create_server((address, 0))
        self.port: int = self._server.getsockname()[1]
        self.asked: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._server.accept()
                with visitor:
                    visitor.settimeout(5)
                    self.asked.append(b"")
                    with suppress(OSError):
                        self.asked[-1] = visitor.recv(65536)
                        visitor.sendall(self._answer)


@pytest.mark.parametrize("bucket", ["127", "exports"])
async def test_a_buckets_name_makes_no_private_address_of_a_public_host(tmp_path: Path, bucket: str) -> None:
    """1.2.3 is the public address 1.2.0.3; with a bucket before it, it is one of this machine."""
    pytest.importorskip("aiobotocore")
    listener = _Listener(address="127.1.2.3")
    host = "1.2.3" if bucket == "127" else "localtest.example"
    config = ExportJobConfig(bucket=bucket, endpoint_url=f"https://{host}:{listener.port}")
    place = Bucket(config, {"aws_access_key_id": "a", "aws_secret_access_key": "b"}, allow_private=False)
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(PlaceFailed):
        await place.put("key", tmp_path / "file")
    listener.close()
    assert listener.asked == []


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_bucket_that_leads_to_a_metadata_address_is_not_followed(
    tmp_path: Path, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where private hosts are allowed. The client follows redirects, and asks no resolver for an address."""
    pytest.importorskip("aiobotocore")
    looked_at: dict[str, str | None] = {}

    def seen(address: Any, *, allow_private: bool) -> str | None:
        looked_at[str(address)] = refusal_of(address, allow_private=allow_private)
        return looked_at[str(address)]

    monkeypatch.setattr(client, "refusal_of", seen)
    moved = _Listener(
        f"HTTP/1.1 {status}\r\nlocation: http://169.254.169.254/latest/api/token\r\n"
        "content-length: 0\r\nconnection: close\r\n\r\n".encode()
    )
    config = ExportJobConfig(bucket="exports", endpoint_url=f"http://127.0.0.1:{moved.port}", use_path_style=True)
    place = Bucket(config, {"aws_access_key_id": "a", "aws_secret_access_key": "b"}, allow_private=True)
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(PlaceFailed):
        await place.put("key", tmp_path / "file")
    moved.close()
    assert moved.asked
    assert "metadata" in (looked_at["169.254.169.254"] or "")


async def test_with_the_published_client(office: TransferOffice) -> None:
    sdk = office.account.sdk()
    connection_id = await office.local_connection()
    created = await sdk.scheduled_tasks.create_scheduled_task_async(
        connection_id=connection_id, entity_type="invoice", interval="daily", job_config={}
    )
    listed = await sdk.scheduled_tasks.list_scheduled_tasks_async()
    assert [item.id for item in listed.items or []] == [created.id]
    now = datetime.now(UTC)
    run = await sdk.scheduled_tasks.trigger_scheduled_task_run_async(
        id=str(created.id), start_time=now - timedelta(hours=1), end_time=now
    )
    await office.work()
    task = await sdk.tasks.get_task_async(id=str(run.workflow_id))
    assert task.task_status == "COMPLETED"
    upload_id = await office.upload(FILE)
    begun = await sdk.tasks.create_task_async(
        entity_type="CUSTOMERS", file_provider="farthing", file_type="CSV", task_type="IMPORT", upload_id=upload_id
    )
    await office.work()
    result = await sdk.tasks.get_task_result_async(workflow_id=str(begun.workflow_id))
    assert result.workflow_id == begun.workflow_id
