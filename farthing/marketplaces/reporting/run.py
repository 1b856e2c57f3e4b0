"""One run of the reporters: what is recorded is planned and sent, at each marketplace by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.marketplaces.reporting.markets.opening import Marketplaces
from farthing.marketplaces.reporting.planning import TEST_CLOCK_SKIPPED, plan_reports, skip_all
from farthing.marketplaces.reporting.receipts import archive_finished
from farthing.marketplaces.reporting.sending import Sent, send_due
from farthing.marketplaces.tables import MarketplaceAgreement, ReportStatus, UsageReport
from farthing.payments.integrations.gateways import connection_to
from farthing.payments.tables import Connection
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

log = structlog.get_logger(__name__)


async def report_environment(
    database: Database, scope: Scope, marketplaces: Marketplaces, clock: Clock
) -> Mapping[str, int]:
    """Plan and send at every marketplace of an environment, side by side; one that fails delays no other."""
    async with database.transaction(scope, read_only=True) as session:
        providers = await _providers(session)
    done: Counter[str] = Counter()
    tasks = [_report_to(database, scope, provider, marketplaces, clock) for provider in providers]
    for provider, sent in zip(providers, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(sent, Sent):
            done["succeeded"] += sent.taken
            done["failed"] += sent.failed
            continue
        if not isinstance(sent, Exception):
            raise sent  # the run is stopped
        done["failed"] += 1
        log.error("marketplace.failed", environment_id=scope.environment_id, provider=provider, exc_info=sent)
    return done


async def skip_under_test_clock(database: Database, scope: Scope, clock: Clock) -> Mapping[str, int]:
    """Note that no marketplace is told of what an environment with a test clock recorded, now or ever."""
    async with database.transaction(scope, clock=clock) as session:
        for provider in await _providers(session):
            await skip_all(session, provider, TEST_CLOCK_SKIPPED)
            await archive_finished(session, provider)
    return {}


async def _providers(session: AsyncSession) -> Sequence[str]:
    query = select(MarketplaceAgreement.provider).where(MarketplaceAgreement.status == Status.PUBLISHED).distinct()
    return (await session.scalars(query.order_by(MarketplaceAgreement.provider))).all()


async def _report_to(database: Database, scope: Scope, provider: str, marketplaces: Marketplaces, clock: Clock) -> Sent:
    async with database.transaction(scope, clock=clock) as session:
        await plan_reports(session, provider, clock.now())
        connection = await connection_to(session, provider)
    sent = Sent()
    if connection is None:
        await _note_problem(database, scope, provider, f"{provider} is not connected")
    else:
        sent = await _send_over(database, scope, connection, marketplaces, clock)
    async with database.transaction(scope, clock=clock) as session:
        await archive_finished(session, provider)
    return sent


async def _send_over(
    database: Database, scope: Scope, connection: Connection, marketplaces: Marketplaces, clock: Clock
) -> Sent:
    provider = connection.provider_type.value
    try:
        async with marketplaces.behind(connection) as reporter:
            return await send_due(database, scope, provider, connection.id, reporter, clock)
    except FarthingError as error:
        await _note_problem(database, scope, provider, error.message)
        return Sent(failed=1)


async def _note_problem(database: Database, scope: Scope, provider: str, words: str) -> None:
    """Say beside each report that waits why nothing was sent."""
    async with database.transaction(scope) as session:
        await session.execute(
            update(UsageReport)
            .where(UsageReport.provider == provider, UsageReport.report_status == ReportStatus.WAITING)
            .values(problem=words)
        )
