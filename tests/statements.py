"""The statements that are sent to the database meanwhile, by sessions and in the driver's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import event

from farthing.storage import postgres
from farthing.storage.connections.messages import Statement
from farthing.storage.postgres import Database


@contextmanager
def statements_sent(database: Database) -> Iterator[list[str]]:
    """A list that each statement of a database's sessions is added to, BEGIN and COMMIT left out."""
    statements: list[str] = []
    send = postgres.send_together

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    async def note_and_send(
        connection: psycopg.AsyncConnection[TupleRow], sent: Sequence[Statement]
    ) -> list[list[TupleRow]]:
        texts = [statement.sql for statement in sent]
        statements.extend(text for text in texts if not text.startswith(("BEGIN", "COMMIT", "SELECT set_config")))
        return await send(connection, sent)

    # read-only sessions run on an engine made of this one, which tells its listeners too
    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    postgres.send_together = note_and_send
    try:
        yield statements
    finally:
        postgres.send_together = send
        event.remove(engine, "before_cursor_execute", note)
