"""Which store holds a deployment's events, and that no process takes another for it.

Where they are in ClickHouse, PostgreSQL has a row that says so, with a token that ClickHouse has too. A process whose
settings say something else does not start: it would bill from a store that lacks events.
"""

from __future__ import annotations

import structlog
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.clickhouse_address import read_address
from farthing.core.errors import ServiceUnavailable
from farthing.core.ids import new_ulid
from farthing.events.ingest.sequence import stay_above
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.schema import IDS, STORE, USAGE, table_statements
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.stores.postgres import POSTGRES
from farthing.events.tables import HERE, MOVING, EventStorePlace
from farthing.events.usage.event_store import EventStore
from farthing.identity.tables import Environment
from farthing.storage.postgres import Database, UnsafeDatabase
from farthing.storage.scope import SYSTEM, Scope

ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('place of events', 0))")

log = structlog.get_logger(__name__)


class StoresDiffer(UnsafeDatabase):
    """What was copied is not what was there; the message says where, and nothing was switched."""


def clickhouse_at(url: str | None, cluster: str | None) -> ClickHouse | None:
    """The ClickHouse that settings name; None for PostgreSQL. Raises BadAddress."""
    return None if url is None else ClickHouse(read_address(url, cluster or ""))


def store_at(url: str | None, cluster: str | None) -> EventStore:
    """The store that settings name. Raises BadAddress."""
    clickhouse = clickhouse_at(url, cluster)
    return POSTGRES if clickhouse is None else clickhouse_store(clickhouse)


async def confirm_place(database: Database, clickhouse: ClickHouse | None) -> None:
    """Begin to store events where the settings say, or find that they are there. Raises UnsafeDatabase.

    A ClickHouse that cannot be reached is taken for the right one where events were stored in one before: what needs
    it will say that it is away.
    """
    async with database.transaction(SYSTEM) as session:
        await session.execute(ONE_AT_A_TIME)
        places = {place.id: place for place in await session.scalars(select(EventStorePlace))}
        if MOVING in places:
            raise UnsafeDatabase(
                "events are being moved: end it with the same `farthing events migrate`, or give it up with --give-up"
            )
        place = places.get(HERE)
        if clickhouse is None:
            if place is not None:
                raise UnsafeDatabase(
                    f"the events are stored in {place.address}: set FARTHING_EVENTS_URL to it, or bring them back "
                    "with `farthing events migrate --to postgresql`"
                )
        elif place is None:
            if await holds_events(database):
                raise UnsafeDatabase(
                    "events are stored in PostgreSQL: unset FARTHING_EVENTS_URL, or move them with "
                    "`farthing events migrate --to URL`"
                )
            session.add(EventStorePlace(id=HERE, address=str(clickhouse.address), token=await take(clickhouse)))
        else:
            await _confirm_token(session, clickhouse, place)


async def take(clickhouse: ClickHouse) -> str:
    """Make the tables in an empty ClickHouse and give it a token. Raises UnsafeDatabase for one that has another's."""
    await make_tables(clickhouse)
    if await token_of(clickhouse) is not None:
        raise UnsafeDatabase(f"{clickhouse.address} holds the events of another deployment; name another database")
    token = new_ulid()
    await clickhouse.insert(STORE, ["token"], [[token]], token)
    return token


async def make_tables(clickhouse: ClickHouse) -> None:
    for statement in table_statements(clickhouse.address):
        await clickhouse.command(statement)


async def token_of(clickhouse: ClickHouse) -> str | None:
    rows = await clickhouse.rows(f"SELECT token FROM {clickhouse.database}.{STORE} LIMIT 1")
    return rows[0][0] if rows else None


async def holds_events(database: Database) -> bool:
    """Whether PostgreSQL has events of anybody."""
    for scope in await scopes_of(database):
        async with database.transaction(scope, read_only=True) as session:
            if await session.scalar(text("SELECT EXISTS (SELECT FROM events) OR EXISTS (SELECT FROM meter_usage)")):
                return True
    return False


async def scopes_of(database: Database) -> list[Scope]:
    """Every environment of every tenant."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        rows = await session.execute(select(Environment.tenant_id, Environment.id).order_by(Environment.id))
        return [Scope(tenant_id, environment_id) for tenant_id, environment_id in rows]


async def set_place(session: AsyncSession, place_id: str, place: tuple[str, str] | None) -> None:
    """Say where events are (address and token); None for PostgreSQL, or for nowhere else."""
    await session.execute(delete(EventStorePlace).where(EventStorePlace.id == place_id))
    if place is not None:
        session.add(EventStorePlace(id=place_id, address=place[0], token=place[1]))


async def _confirm_token(session: AsyncSession, clickhouse: ClickHouse, place: EventStorePlace) -> None:
    try:
        await make_tables(clickhouse)
        token = await token_of(clickhouse)
        highest = max([await _highest_version(clickhouse, table) for table in (IDS, USAGE)])
    except ServiceUnavailable:
        log.warning("events.unreachable", address=str(clickhouse.address), action="started without looking at it")
        return
    if token != place.token:
        raise UnsafeDatabase(
            f"{clickhouse.address} is not where this deployment's events are stored, which was {place.address} at first"
        )
    await stay_above(session, highest)


async def _highest_version(clickhouse: ClickHouse, table: str) -> int:
    ((highest,),) = await clickhouse.rows(f"SELECT max(version) FROM {clickhouse.database}.{table}")
    return int(highest)
