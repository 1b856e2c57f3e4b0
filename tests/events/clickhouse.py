"""A ClickHouse for tests: the engine within the process, or the server that FARTHING_TEST_CLICKHOUSE_URL names."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from farthing.clickhouse_address import ClickHouseAddress, read_address
from farthing.core.errors import ServiceUnavailable
from farthing.events.stores.clickhouse.client import UNREACHABLE, ClickHouse
from farthing.events.stores.clickhouse.schema import TABLES
from farthing.events.stores.place import make_tables
from farthing.metering.event import UsageEvent
from farthing.metering.meter import Aggregation, AggregationType, Meter
from tests.scratch import scratch


@cache
def address() -> ClickHouseAddress:
    """This process's: the engine within a process has one folder for as long as the process lives."""
    url = os.environ.get("FARTHING_TEST_CLICKHOUSE_URL")
    return read_address(url or f"chdb://{scratch() / 'clickhouse'}")


@cache
def clickhouse() -> ClickHouse:
    return ClickHouse(address())


async def opened_clickhouse() -> ClickHouse:
    """This process's, with its tables, which do not wait for the disk. Environments keep tests apart, as elsewhere."""
    found = clickhouse()
    await make_tables(found)
    for table in TABLES:
        settings = "fsync_after_insert = 0, fsync_part_directory = 0"
        await found.command(f"ALTER TABLE {found.database}.{table.name} MODIFY SETTING {settings}")
    return found


MUTATION = "a mutation"


class FaultyClickHouse(ClickHouse):
    """One that goes away when it is told to, before or after it has done what it was asked.

    `breaks_at` is given the table that is inserted into, `MUTATION` for a command, or "" for what is read, and says
    whether it is away.
    """

    def __init__(self, database: str = "") -> None:
        super().__init__(dataclasses.replace(address(), database=database) if database else address())
        self.loses = ""
        """A table whose rows are acknowledged and not stored."""
        self.breaks_at: Callable[[str], bool] = lambda _: False
        self.is_done_first = False
        """Whether what breaks was done, and only the answer is lost."""

    async def rows(self, statement: str, parameters: Any = None) -> Any:
        self._break("", done=False)
        return await super().rows(statement, parameters)

    async def command(self, statement: str, parameters: Any = None) -> None:
        self._break(MUTATION, done=False)
        await super().command(statement, parameters)
        self._break(MUTATION, done=True)

    async def insert(self, table: str, columns: Any, rows: Any, token: str) -> None:
        self._break(table, done=False)
        if table != self.loses:
            await super().insert(table, columns, rows, token)
        self._break(table, done=True)

    def _break(self, table: str, *, done: bool) -> None:
        if done is self.is_done_first and self.breaks_at(table):
            raise ServiceUnavailable(UNREACHABLE)


DAY = datetime(2025, 3, 9, tzinfo=UTC)


def event(name: str, x: Any = 1, minute: int = 0, customer: str = "c1") -> UsageEvent:
    return UsageEvent(
        id=name,
        event_name="call",
        external_customer_id=customer,
        timestamp=DAY + timedelta(minutes=minute),
        properties={"x": x},
    )


def summed() -> Meter:
    return Meter(f"meter_{uuid.uuid4().hex}", "call", Aggregation(AggregationType.SUM, "x"))
