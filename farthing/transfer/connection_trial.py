"""Whether a connection works: the system behind it is asked for something that changes nothing there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.marketplaces.reporting.markets.interface import CallRefused, MarketplaceUnavailable
from farthing.marketplaces.reporting.markets.opening import Marketplaces
from farthing.payments.integrations.gateways import COLLECTORS, Gateways
from farthing.payments.integrations.marketplaces import MARKETPLACES
from farthing.payments.tables import Connection, ProviderType
from farthing.settings import Settings
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find
from farthing.transfer.exports.places import PlaceFailed, place_of
from farthing.transfer.schedules.lifecycle import config_of
from farthing.transfer.schemas import ExportJobConfig
from farthing.transfer.tables import ScheduledTask


@dataclass(frozen=True, slots=True)
class ConnectionTrial:
    """What came back; `words` are fit to show, and hold no secret."""

    works: bool
    words: str


async def try_connection(
    session: AsyncSession, gateways: Gateways, settings: Settings, connection_id: str
) -> ConnectionTrial:
    """Ask the system behind a connection. Raises NotFound, and InvalidOperation for one that was deleted.

    The session must have nothing that is not committed: nothing is held while the other side is asked.
    """
    connection = await find(session, Connection, connection_id)
    if connection.status is not Status.PUBLISHED:
        raise InvalidOperation("connection was deleted", {"connection_id": connection_id})
    scope = scope_of(session)
    configs = [] if connection.provider_type in COLLECTORS else await _configs(session, connection)
    await commit_midway(session)
    try:
        if connection.provider_type in COLLECTORS:
            answer = await gateways.behind(connection).ask_account()
            works = isinstance(answer, str)
            return ConnectionTrial(works, answer if isinstance(answer, str) else answer.message)
        if connection.provider_type.value in MARKETPLACES:
            async with Marketplaces(gateways.database, settings).behind(connection) as reporter:
                return ConnectionTrial(works=True, words=await reporter.ask())
        if connection.provider_type not in {ProviderType.S3, ProviderType.LOCAL}:
            words = f"Nothing is sent to {connection.provider_type.value}, so that it cannot be asked"
            return ConnectionTrial(works=False, words=words)
        if not configs:
            return ConnectionTrial(works=False, words="No export goes there yet, so that no bucket is known to ask for")
        answers = [await place_of(connection, config, settings, scope).ask() for config in configs]
    except (FarthingError, PlaceFailed, MarketplaceUnavailable, CallRefused) as error:
        return ConnectionTrial(works=False, words=error.message if isinstance(error, FarthingError) else str(error))
    return ConnectionTrial(works=True, words="; ".join(answers))


async def _configs(session: AsyncSession, connection: Connection) -> list[ExportJobConfig]:
    """Where exports of a connection go, each bucket once; a folder needs no schedule to be known."""
    if connection.provider_type is ProviderType.LOCAL:
        return [ExportJobConfig()]
    schedules = await session.scalars(
        select(ScheduledTask)
        .where(ScheduledTask.connection_id == connection.id, ScheduledTask.status == Status.PUBLISHED)
        .order_by(ScheduledTask.created_at)
    )
    found = [config_of(schedule) for schedule in schedules]
    return list({(config.bucket, config.endpoint_url): config for config in found}.values())
