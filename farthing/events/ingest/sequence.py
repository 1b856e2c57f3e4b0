"""The order in which events were accepted, as numbers that a snapshot can be compared with.

`sequence` = (transaction id + moves x 2^40) x 2^14 + place within the transaction. Transaction ids are handed out in
order, and a snapshot knows the lowest one that is still running; so the watermark of a snapshot needs no lock and no
row of its own. A database that is restored into another cluster starts again with small transaction ids: `moves`,
counted once per move, keeps new sequences above all old ones.
"""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

PLACE_BITS = 14
MOST_IN_ONE_TRANSACTION = 1 << PLACE_BITS

_MOVE_BITS = 40
_MOVED = f"(SELECT moves::bigint << {_MOVE_BITS} FROM event_arrival)"
FIRST_SEQUENCE = f"((pg_current_xact_id()::text::bigint + {_MOVED}) << {PLACE_BITS})"
"""SQL: the sequence of this transaction's first event; add the place of the others."""
PLACE = f"(sequence & {MOST_IN_ONE_TRANSACTION - 1})::int"
"""SQL: an event's place within its transaction."""

_WATERMARK = text(f"SELECT ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + {_MOVED}) << {PLACE_BITS}) - 1")
_FIRST_SEQUENCE = text(f"SELECT {FIRST_SEQUENCE}")
_STAY_ABOVE = text(
    f"UPDATE event_arrival SET moves = (CAST(:highest AS bigint) >> {PLACE_BITS + _MOVE_BITS}) + 1 "
    f"WHERE {FIRST_SEQUENCE} <= :highest"
)
_MOVE = """
    UPDATE event_arrival SET cluster = control.system_identifier, moves = moves + 1
    FROM pg_control_system() AS control WHERE cluster <> control.system_identifier
"""


async def watermark(session: AsyncSession) -> int:
    """The highest sequence at or below which this session's snapshot misses nothing.

    Rule: docs/rules/late-usage.md#watermark
    """
    return int((await session.execute(_WATERMARK)).scalar_one())


async def first_sequence(session: AsyncSession) -> int:
    """Where this session's transaction stands in the order of acceptance: above every watermark until it has ended."""
    return int((await session.execute(_FIRST_SEQUENCE)).scalar_one())


async def stay_above(session: AsyncSession, highest: int) -> None:
    """Give out sequences above `highest` from now on, which a store outside the database holds.

    Books that went back in time, by a second restore of one backup or by a recovery to a moment, would give out again
    what was given out before: a correction would be older than what it corrects.
    """
    await session.execute(_STAY_ABOVE, {"highest": highest})


async def settle_in(connection: psycopg.AsyncConnection[Any]) -> None:
    """Notice that the database was restored into another cluster. Called before anything is appended."""
    await connection.execute(_MOVE)
