"""Every test here runs with its events in either store: what is asked over HTTP, and what the store does beneath it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.events.clickhouse import opened_clickhouse


@pytest.fixture(scope="session")
async def in_clickhouse(database_url: str) -> AsyncIterator[Database]:
    """This worker's database, with its events in ClickHouse."""
    database = Database(database_url, wire(clickhouse_store(await opened_clickhouse())), pool_size=20)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def clickhouse_server(
    database_url: str, in_clickhouse: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, Settings]]:
    """A server on that database."""
    folder: Path = tmp_path_factory.mktemp("exports")
    settings = settings_for(database_url, export_dir=str(folder))
    async with running(settings, in_clickhouse) as url:
        yield url, settings


@pytest.fixture(params=["postgres", "clickhouse"])
def each_store(request: pytest.FixtureRequest, database: Database) -> Database:
    """This worker's database, once for each store."""
    if request.param == "postgres":
        return database
    found: Database = request.getfixturevalue("in_clickhouse")
    return found


@pytest.fixture
def server(request: pytest.FixtureRequest, each_store: Database) -> tuple[str, Settings]:
    """A server on that database."""
    if each_store is request.getfixturevalue("database"):
        return request.getfixturevalue("base_url"), request.getfixturevalue("settings")
    found: tuple[str, Settings] = request.getfixturevalue("clickhouse_server")
    return found


@pytest.fixture
async def account(each_store: Database, server: tuple[str, Settings]) -> AsyncIterator[Account]:
    """A fresh tenant on a server with either store."""
    url, settings = server
    async with Account(url, settings, each_store) as account:
        yield account
