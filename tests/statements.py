"""The statements that are sent to the database meanwhile, by sessions and in the driver's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import event

from farthing.storage import postgres
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.postgres import Database


@contextmanager
def statements_sent(database: Database) -> Iterator[list[str]]:
    """A list that each statement of a database's sessions is added to, BEGIN and COMMIT left out."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    async def note_and_send(
        connection: psycopg.AsyncConnection[TupleRow], message: Sequence[Statement]
    ) -> list[list[TupleRow]]:
        texts = [statement.sql for statement in message]
        statements.extend(text for text in texts if not text.startswith(("BEGIN", "COMMIT", "SELECT set_config")))
        return await send_together(connection, message)

    # read-only sessions run on an engine made of this one, which tells its listeners too
    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with patch.object(postgres, "send_together", note_and_send):
            yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
