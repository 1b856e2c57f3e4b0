"""Hot reads keep their plan: one for any arguments, by index, whatever the statistics say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from farthing.invoices.receivables import aging, summary
from farthing.storage.connections.hot_reads import Prepared, configure
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account

_PLANS = Prepared("plans", ("text",), "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = $1")
_ANSWER = Prepared("answer", ("int",), "SELECT $1")
_NUMBERS = Prepared("numbers", ("int",), "SELECT * FROM generate_series(1, $1)")


async def test_a_read_is_planned_once_for_any_arguments(account: Account) -> None:
    database = Database(account.database.url, wire(), hot_reads=1)
    try:
        for number in range(10):
            assert await database.read_once(account.scope, _ANSWER, number) == [(number,)]
        assert await database.read_once(account.scope, _PLANS, _ANSWER.name) == [(10, 0)]
    finally:
        await database.close()


@pytest.mark.parametrize("count", [0, 1, 100, 101, 200, 1001])
async def test_many_rows_come_whole_and_in_order(account: Account, count: int) -> None:
    rows = await account.database.read_once(account.scope, _NUMBERS, count)
    assert rows == [(number,) for number in range(1, count + 1)]


_ARGUMENTS: dict[str, tuple[Prepared, tuple[Any, ...]]] = {
    "aging": (aging.STATEMENT, ("cust_1", datetime(2026, 1, 1, tzinfo=UTC))),
    **{
        f"summary of {which}": (statement, ("cust_1", datetime(2026, 1, 1, tzinfo=UTC), ["self"]))
        for which, statement in summary.STATEMENTS.items()
    },
}


@pytest.fixture(scope="module")
def of_one_page(new_database: Callable[..., str]) -> str:
    """A database whose tables hold a row or two and were looked at by vacuum, which makes reading them whole cheap."""
    url = new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT set_config('farthing.environment_id', 'env_1', false)")
        connection.execute("SELECT set_config('farthing.tenant_id', 'tenant_1', false)")
        connection.execute(
            "INSERT INTO invoice_totals "
            "(tenant_id, environment_id, customer_id, relation, currency, invoice_count, revenue) "
            "VALUES ('tenant_1', 'env_1', 'cust_1', 'self', 'usd', 1, 1)"
        )
        connection.execute("VACUUM ANALYZE customers, invoices, invoice_totals, subscriptions")
    return url


@pytest.mark.parametrize("name", _ARGUMENTS)
async def test_every_read_goes_by_index_while_its_tables_are_small(of_one_page: str, name: str) -> None:
    statement, arguments = _ARGUMENTS[name]
    plan = await _plan(of_one_page, statement, *arguments)
    assert "$1" in plan, "the plan is for any customer"
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("name", _ARGUMENTS)
async def test_no_read_waits_for_processes_that_help_it(of_one_page: str, name: str) -> None:
    """Where one customer has most of what is unpaid, the plan for any seems to be worth the start of some."""
    statement, arguments = _ARGUMENTS[name]
    costs = "parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size", "min_parallel_index_scan_size"
    cheap = "SET debug_parallel_query = on; " + "; ".join(f"SET {cost} = 0" for cost in costs)
    plan = await _plan(of_one_page, statement, *arguments, setting=cheap)
    assert "Gather" not in plan, plan


async def _plan(url: str, statement: Prepared, *arguments: Any, setting: str = "") -> str:
    """The plan of a hot read on a connection of its kind, which had `setting` before."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        if setting:
            await connection.execute(setting)
        await configure(connection)
        await connection.execute(statement.prepare)
        cursor = psycopg.AsyncClientCursor(connection)
        explained = statement.execute.replace("EXECUTE", "EXPLAIN EXECUTE", 1)
        await cursor.execute(explained, ("tenant_1", "env_1", *arguments))
        cursor.nextset()
        cursor.nextset()
        return "\n".join(row[0] for row in await cursor.fetchall())
