"""Talking to ClickHouse: statements in threads, and failures as what they mean to whoever asked.

The driver is imported when it is first used: who stores events in PostgreSQL need not have it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from farthing.clickhouse_address import ClickHouseAddress
from farthing.core.errors import DatabaseFailed, ServiceUnavailable
from farthing.storage.postgres import UnsafeDatabase

AT_ONCE = 8
"""Statements of this process that a server works on at the same time."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
LARGEST_STATEMENT_BYTES = 64 * 1024 * 1024
MOST_ELEMENTS = 5_000_000
"""A statement names thousands of ids, customers and times."""
UNREACHABLE = "The event store cannot be reached; nothing was accepted"

_NO_CLIENT = "FARTHING_EVENTS_URL needs ClickHouse's client: install the package with its extra, farthing[clickhouse]"
_NO_ENGINE = "FARTHING_EVENTS_URL with chdb:/// needs ClickHouse's engine as a module: pip install chdb"

_CODE = re.compile(r"\bCode: (\d+)\b|\bcode[: ]+(\d+)\b")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{2,80})\)(?=\s*(?:\(version |$))")
"""What ClickHouse calls the code, behind everything that it quotes."""
_PASSING = frozenset({
    3, 159, 160, 164, 198, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 285, 286, 289, 305, 319, 394, 415, 425,
    439, 499, 999,
})  # fmt: skip
"""ClickHouse's codes of what passes: timeouts, memory, too many parts, no quorum, a stale replica, a full disk."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class ClickHouse:
    """One ClickHouse, as this process uses it. Nothing is opened before the first statement."""

    def __init__(self, address: ClickHouseAddress) -> None:
        self.address = address
        self._client: Any = None
        # the engine within this process takes one statement after the other
        self._threads = ThreadPoolExecutor(1 if address.folder else AT_ONCE, thread_name_prefix="clickhouse")

    @property
    def database(self) -> str:
        """What tables' names are put behind."""
        return self.address.database

    async def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows of a SELECT. Raises ServiceUnavailable, DatabaseFailed."""
        return await self._do(lambda client: client.query(statement, parameters=dict(parameters or {})).result_rows)

    async def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Carry out a statement that answers nothing. Raises as `rows`."""
        await self._do(lambda client: client.command(statement, parameters=dict(parameters or {})))

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str) -> None:
        """Insert rows, durably. The same token again, soon after, inserts nothing. Raises as `rows`."""
        if not rows:
            return
        settings = {"insert_deduplication_token": token}
        await self._do(
            lambda client: client.insert(
                table, rows, column_names=columns, database=self.address.database, settings=settings
            )
        )

    async def _do(self, work: Callable[[Any], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._now, work)

    def _now(self, work: Callable[[Any], Result]) -> Result:
        try:
            from clickhouse_connect.driver.exceptions import Error
            from urllib3.exceptions import HTTPError
        except ModuleNotFoundError as error:
            raise UnsafeDatabase(_NO_CLIENT) from error

        try:
            if self._client is None:
                self._client = _opened(self.address)
            return work(self._client)
        except ImportError as error:
            raise UnsafeDatabase(
                f"chdb:/// needs ClickHouse's engine as a module: pip install chdb ({error})"
            ) from error
        except (Error, HTTPError, OSError) as error:
            # its text would follow into the log with the stack
            raise _meaning(error) from None


def statement_settings(address: ClickHouseAddress) -> dict[str, Any]:
    """What every statement runs with: durable when it is acknowledged, and never an answer that lacks a part."""
    settings: dict[str, Any] = {
        "async_insert": 0,
        "wait_for_async_insert": 1,
        "max_partitions_per_insert_block": 0,  # a batch may hold events of many months
        "max_query_size": LARGEST_STATEMENT_BYTES,
        "max_ast_elements": MOST_ELEMENTS,
        "max_expanded_ast_elements": MOST_ELEMENTS,
        "join_use_nulls": 1,
    }
    if address.cluster:
        settings |= {
            "insert_quorum": "auto",
            "insert_quorum_parallel": 0,
            "select_sequential_consistency": 1,
            "distributed_foreground_insert": 1,
            "fallback_to_stale_replicas_for_distributed_queries": 0,
            "skip_unavailable_shards": 0,
            "distributed_product_mode": "global",
        }
    return settings


def _opened(address: ClickHouseAddress) -> Any:
    import clickhouse_connect

    settings = statement_settings(address)
    if address.folder:
        return clickhouse_connect.get_client(interface="chdb", path=address.folder, settings=settings)
    return clickhouse_connect.get_client(
        interface="https" if address.is_secure else "http",
        host=address.host,
        port=address.port,
        username=address.user,
        password=address.password,
        settings=settings,
        autogenerate_session_id=False,  # one client for several threads
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=ANSWER_SECONDS,
        query_retries=0,
        client_name="farthing",
    )


def _meaning(error: Exception) -> ServiceUnavailable | DatabaseFailed:
    """What a failure is to whoever asked. The log has its kind: the text may hold statements with values of tenants."""
    said = str(error)
    found, name = _CODE.search(said), _NAME.search(said)
    code = int(found[1] or found[2]) if found else None
    kind = {"code": code, "name": name[1] if name else type(error).__name__}
    if code is None:
        log.warning("events.unreachable", name=type(error).__name__)
        return ServiceUnavailable(UNREACHABLE)
    if code in _PASSING:
        log.warning("events.unavailable", **kind)
        return ServiceUnavailable("The event store cannot answer at present; nothing was accepted")
    log.error("events.failed", **kind)
    return DatabaseFailed("The event store could not complete the request")
