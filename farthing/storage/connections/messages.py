"""Statements sent together as one message: one round trip, and each prepared once for each connection.

What the driver does for each statement costs several times what PostgreSQL needs for a small one, most of it for
waiting: so a message is written to the connection at once, and waited for once. Which statements a connection has
prepared is kept where the driver keeps it, because it forgets them all when it rolls back.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import adapt
from psycopg._preparing import Prepare
from psycopg.abc import PQGen, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with parameters $1, $2, ... and what they are."""

    sql: str
    parameters: Sequence[Any] = ()


class _Query(NamedTuple):
    """A statement as it is sent; the driver knows by its text and its types whether it is prepared."""

    query: bytes
    types: tuple[int, ...]
    parameters: Sequence[Any] | None
    formats: Sequence[Any] | None


_transformers: WeakKeyDictionary[Connection, Transformer] = WeakKeyDictionary()
_AS_TUPLE: Any = tuple


async def send_together(connection: Connection, statements: Sequence[Statement]) -> list[list[TupleRow]]:
    """Carry statements out in their order, and return the rows of each; none for what returns none.

    Outside of a transaction, statements without BEGIN are one of their own, committed when this returns. Each sees what
    those before it did, and what others had committed when its own turn came. Raises psycopg.Error of the first that
    fails; none after it is carried out.
    """
    async with connection.lock:
        if connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        transformer = _transformers.get(connection)
        if transformer is None:
            # of what the connection has registered, not of itself, which it would keep alive
            transformer = _transformers[connection] = adapt.Transformer(connection.adapters)
        queries = [_query_of(statement, transformer) for statement in statements]
        return await connection.wait(_carry_out(connection, queries, transformer))


@lru_cache(maxsize=1_000)
def _encoded(sql: str) -> bytes:
    """A statement's text as it is sent: the same bytes each time, of which the driver need not make the hash again."""
    return sql.encode()


def _query_of(statement: Statement, transformer: Transformer) -> _Query:
    text = _encoded(statement.sql)
    if not statement.parameters:
        return _Query(text, (), None, None)
    parameters = transformer.dump_sequence(statement.parameters, [adapt.PyFormat.AUTO] * len(statement.parameters))
    return _Query(text, transformer.types or (), parameters, transformer.formats)


def _carry_out(connection: Connection, queries: Sequence[_Query], transformer: Transformer) -> PQGen[Any]:
    """Send all queries, wait for all of them, and return their rows."""
    prepared: Any = connection._prepared
    yield from prepared.maintain_gen(connection)
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        added = [_send(pgconn, prepared, query) for query in queries]
        pgconn.pipeline_sync()
        results = yield from _results(pgconn)
    finally:
        if pgconn.status == ConnStatus.OK:
            try:
                pgconn.exit_pipeline_mode()
            except psycopg.OperationalError:
                pgconn.finish()  # nobody knows what it would answer next
    return _rows_of(results, added, prepared, transformer)


def _send(pgconn: PGconn, prepared: Any, query: _Query) -> tuple[Any, Prepare, bytes] | None:
    """Send a query; how it was prepared for it, None where it was already."""
    prepare, name = prepared.get(query, True)
    if prepare is Prepare.NO:  # the connection prepares nothing
        pgconn.send_query_params(query.query, query.parameters, query.types, query.formats)
        return None
    if prepare is Prepare.SHOULD:
        pgconn.send_prepare(name, query.query, query.types)
    pgconn.send_query_prepared(name, query.parameters, query.formats)
    key = prepared.maybe_add_to_cache(query, prepare, name)
    return (key, prepare, name) if prepare is Prepare.SHOULD else None


def _results(pgconn: PGconn) -> Generator[Wait, Ready, list[PGresult]]:
    """All results up to the end of the message, as they come."""
    while pgconn.flush():
        ready = yield Wait.RW
        if ready & Ready.R:
            pgconn.consume_input()  # the server may wait until we take what it has answered
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            while not (yield Wait.R):
                pass
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is not None:
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
        if pgconn.status == ConnStatus.BAD:
            return results  # it ended in the middle, and there is no more to come


def _rows_of(
    results: Sequence[PGresult],
    added: Sequence[tuple[Any, Prepare, bytes] | None],
    prepared: Any,
    transformer: Transformer,
) -> list[list[TupleRow]]:
    """The rows of each statement. Raises the error of the first that failed."""
    rows: list[list[TupleRow]] = []
    failed: PGresult | None = None
    remaining = iter(results)
    for preparation in added:
        result = next(remaining, None)
        if preparation is not None:
            key, prepare, name = preparation
            prepared.validate(key, prepare, name, [] if result is None else [result])
            if result is not None and result.status == ExecStatus.COMMAND_OK:
                result = next(remaining, None)
        if failed is not None:
            continue
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        if result.status == ExecStatus.TUPLES_OK:
            transformer.set_pgresult(result)
            rows.append(cast("list[TupleRow]", transformer.load_rows(0, result.ntuples, _AS_TUPLE)))
        elif result.status == ExecStatus.COMMAND_OK:
            rows.append([])
        else:
            failed = result
    # a message without BEGIN is committed at its end, and what fails there belongs to no statement
    failed = failed or next((result for result in remaining if result.status == ExecStatus.FATAL_ERROR), None)
    if failed is not None:
        raise psycopg.errors.error_from_result(failed, encoding="utf-8")
    return rows
