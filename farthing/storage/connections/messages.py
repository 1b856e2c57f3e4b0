"""Several statements as one message: one round trip, and each prepared once for each connection.

A statement by itself costs about as much for being sent, waited for and read as the others of its message together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import TupleRow


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with parameters $1, $2, ... and what they are."""

    sql: str
    parameters: Sequence[Any] = ()


async def send_together(
    connection: psycopg.AsyncConnection[TupleRow], statements: Sequence[Statement]
) -> list[list[TupleRow]]:
    """Carry statements out in their order, and return the rows of each; none for what returns none.

    Each sees what those before it did, and what others had committed when its own turn came. Raises psycopg.Error of
    the first that fails; none after it is carried out.
    """
    if len(statements) == 1:
        return [await _rows(await _sent(connection, statements[0]))]
    async with connection.pipeline():
        cursors = [await _sent(connection, statement) for statement in statements]
    return [await _rows(cursor) for cursor in cursors]


async def _sent(
    connection: psycopg.AsyncConnection[TupleRow], statement: Statement
) -> psycopg.AsyncRawCursor[TupleRow]:
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(statement.sql, statement.parameters, prepare=True)
    return cursor


async def _rows(cursor: psycopg.AsyncRawCursor[TupleRow]) -> list[TupleRow]:
    result = cursor.pgresult
    return await cursor.fetchall() if result is not None and result.nfields else []
