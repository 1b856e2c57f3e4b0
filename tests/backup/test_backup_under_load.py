"""A backup as an operator takes it: from a serving Farthing, while clients write, into a new folder and a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.serving.test_server import _environment, _run, _serving
from tests.waiting import PATIENCE_SECONDS

MASTER = "a master key for backups only"


class Writer:
    """A client that creates customers and sends events until it is stopped, and notes what was acknowledged."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self.acknowledged: list[str] = []
        self._client = httpx.Client(base_url=client.base_url, headers=client.headers, timeout=PATIENCE_SECONDS)
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            external_id = f"{self._name}-{number}"
            made = self._client.post("/v1/customers", json={"external_id": external_id, "name": external_id})
            event = {"event_id": external_id, "event_name": "call", "external_customer_id": external_id}
            sent = self._client.post("/v1/events", json=event)
            if made.status_code == 201 and sent.status_code == 202:
                self.acknowledged.append(external_id)
            self._stop.wait(0.02)  # a backup beside writes, not beside a server without a moment to spare


def _counts(url: str) -> dict[str, int]:
    """Rows of every table, as a superuser sees them."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()[0]  # type: ignore[index]
            for (name,) in names
        }


def _names(url: str, query: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(query.encode())}


@pytest.mark.slow
def test_everything_acknowledged_before_a_backup_is_in_it_and_nothing_is_half(
    tmp_path: Path, new_database: Callable[..., str], sockets: str
) -> None:
    data, folder, key_file = tmp_path / "data", tmp_path / "backup", tmp_path / "key"
    with _serving(data) as (_, client):
        writers = [Writer(client, f"writer{number}") for number in range(3)]
        while min(len(writer.acknowledged) for writer in writers) < 10:
            assert all(writer._thread.is_alive() for writer in writers)
        before = {name for writer in writers for name in list(writer.acknowledged)}
        taken = _run(data, "backup", str(folder), "--key-file", str(key_file))
        for writer in writers:
            writer.stop()
        assert taken.returncode == 0, taken.stderr
        assert "The master key is NOT in the backup" in taken.stdout
        after = {name for writer in writers for name in writer.acknowledged}
        assert len(after) > len(before), "the server went on while the backup was taken"
    master = key_file.read_text().strip()
    assert all(master.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())

    elsewhere = tmp_path / "elsewhere"
    wrong = tmp_path / "wrong"
    wrong.write_text("not the key of these books")
    refused = _run(elsewhere, "restore", str(folder), "--key-file", str(wrong))
    assert refused.returncode == 2
    assert "not the one this backup was made with" in refused.stderr
    assert not elsewhere.exists()

    restored = _run(elsewhere, "restore", str(folder), "--key-file", str(key_file))
    assert restored.returncode == 0, restored.stderr
    assert "farthing doctor" in restored.stdout
    url = new_database(migrated=False)
    given = {"FARTHING_DATABASE_URL": url, "FARTHING_SECRET_KEY": master}
    moved = _run(tmp_path, "restore", str(folder), **given)
    assert moved.returncode == 0, moved.stderr
    for examined in (_run(elsewhere, "doctor"), _run(tmp_path, "doctor", **given)):
        assert examined.returncode == 0, examined.stdout + examined.stderr

    as_superuser = url.replace("farthing@", "postgres@")
    manifest = json.loads((folder / "manifest.json").read_text())
    counts = _counts(as_superuser)
    assert {table["name"]: table["rows"] for table in manifest["tables"]}.items() <= counts.items()
    customers = _names(as_superuser, "SELECT external_id FROM customers")
    events = _names(as_superuser, "SELECT id FROM events")
    assert before <= customers
    assert before <= events
    # the writers create a customer, and then send an event of it: no event without its customer
    assert events <= customers

    with _serving(elsewhere) as (_, client):  # with the API key of the first deployment
        assert client.get("/v1/customers/external/writer0-1").status_code == 200
        assert client.post("/v1/customers", json={"external_id": "new", "name": "New"}).status_code == 201
        again = _run(elsewhere, "restore", str(folder))
        assert again.returncode == 2
        assert "another Farthing is using the data folder" in again.stderr
    assert "FARTHING_DATA_DIR" in _environment(elsewhere)
