"""Arrays of parameters arrive as they were given, however they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

_LONG_AGO = datetime(999, 1, 1, tzinfo=timezone(timedelta(hours=-3)))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("text", ["a", "", "null", "NULL", "a,b", "{c}", " d ", "e\nf", "\u00a0\u2002", "\u00e9\u4e2d"]),
        ("text", ['with "quotes"', "plain"]),
        ("text", ["back\\slash", "plain", '"', '\\"']),
        ("text", ["a", None, "b"]),
        ("text", []),
        ("bigint", [0, -1, 2**62]),
        (
            "timestamptz",
            [datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), datetime(999, 1, 1, tzinfo=timezone(timedelta(hours=-3)))],
        ),
    ],
)
async def test_an_array_arrives(database: Database, kind: str, given: list[Any]) -> None:
    async with database.transaction(SYSTEM, read_only=True) as session:
        assert await session.scalar(text(f"SELECT CAST(:given AS {kind}[])"), {"given": given}) == given


async def test_a_text_that_the_database_cannot_hold_is_refused_and_not_cut(database: Database) -> None:
    with pytest.raises(DBAPIError, match="NUL"):
        async with database.transaction(SYSTEM, read_only=True) as session:
            await session.scalar(text("SELECT CAST(:given AS text[])"), {"given": ["a", "b\0c"]})
