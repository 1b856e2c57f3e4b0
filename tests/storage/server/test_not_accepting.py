"""A start beside a PostgreSQL that is there and accepts nobody yet: it waits, and says so."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psycopg

from farthing.storage.embedded import EmbeddedPostgres
from tests.processes import farthing
from tests.waiting import until


async def test_a_start_waits_for_a_server_that_ends_and_comes_back(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    said.touch()

    async def turns_away() -> bool:
        try:
            psycopg.connect(server.url()).close()
        except psycopg.OperationalError:
            return True
        return False

    async def waits() -> bool:
        return "database.not_accepting_yet" in said.read_text()

    async def revived() -> bool:
        return server.revive()

    with EmbeddedPostgres(tmp_path / "data", {"fsync": "off"}) as server:
        with psycopg.connect(server.url()):
            os.kill(server.process_id, signal.SIGTERM)  # it ends when the last connection does, and accepts no other
            await until(turns_away)
            settings = {"FARTHING_DATABASE_URL": server.url(), "FARTHING_SECRET_KEY": "k" * 40}
            migrating = farthing(["migrate"], settings, output=said)
            await until(waits)
        await until(revived)
        assert await asyncio.to_thread(migrating.wait) == 0, said.read_text()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (0,)
