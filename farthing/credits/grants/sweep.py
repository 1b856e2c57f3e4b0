"""The duty that applies what is due, page by page, in one environment.

A page is one transaction; if that fails, each application is attended to alone, so that only what fails stays behind,
and is tried again later and later. Subscriptions that somebody else holds are left to the next run.
Rule: docs/rules/credits.md#applications
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FixedClock
from farthing.core.errors import FarthingError
from farthing.credits.grants.applying import DueApplication, fail, settle
from farthing.credits.grants.enums import OPEN, ApplicationStatus
from farthing.credits.grants.rollover import settle_rollovers
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.customers.tables import Customer
from farthing.storage.connections.reasons import public_reason
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import in_array
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

PAGE = 100
Attend = Callable[[AsyncSession, Sequence[str], datetime], Awaitable[Counter[str]]]
"""What is done with the applications of these ids in one transaction; how many became what."""


@dataclass
class SweepSummary:
    """What a sweep did: how many applications became what, and why the others failed, by id."""

    became: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The same in numbers, for the journal of duties."""
        return {
            "succeeded": self.became[ApplicationStatus.APPLIED.value],
            "skipped": self.became[ApplicationStatus.SKIPPED.value],
            "cancelled": self.became[ApplicationStatus.CANCELLED.value],
            "deferred": self.became[ApplicationStatus.PENDING.value],
            "rolled_over": self.became[ROLLED_OVER],
            "failed": len(self.failed),
        }


ROLLED_OVER = "rolled_over"


@dataclass(frozen=True, slots=True)
class GrantSweep:
    """One sweep in one environment, as of `now`."""

    database: Database
    scope: Scope
    now: datetime
    page: int = PAGE

    async def run(self) -> SweepSummary:
        """Apply what is due, then bring down what rolls over as far as billing has caught up."""
        done = SweepSummary()
        after: tuple[datetime, str] | None = None
        while page := await self._due(after):
            after = page[-1]
            await self._attend([application_id for _, application_id in page], _apply_page, done)
        await self.roll_over(done)
        return done

    async def roll_over(self, done: SweepSummary) -> None:
        """Bring down what is carried over new applications to its maximum, where billing has caught up."""
        last = ""
        while ids := await self._rolling_over(last):
            last = ids[-1]
            await self._attend(ids, _roll_over_page, done)

    async def _due(self, after: tuple[datetime, str] | None) -> list[tuple[datetime, str]]:
        table = CreditGrantApplication
        query = select(table.next_attempt_at, table.id).where(
            table.application_status.in_(OPEN), table.next_attempt_at <= self.now
        )
        if after is not None:
            query = query.where(tuple_(table.next_attempt_at, table.id) > tuple_(*after))
        async with self.database.transaction(self.scope, read_only=True) as session:
            rows = await session.execute(query.order_by(table.next_attempt_at, table.id).limit(self.page))
            return [(at, application_id) for at, application_id in rows if at is not None]

    async def _rolling_over(self, after: str) -> Sequence[str]:
        table = CreditGrantApplication
        query = select(table.id).where(table.rollover_due, table.id > after).order_by(table.id).limit(self.page)
        async with self.database.transaction(self.scope, read_only=True) as session:
            return (await session.scalars(query)).all()

    async def _attend(self, ids: Sequence[str], attend: Attend, done: SweepSummary) -> None:
        try:
            async with self.database.transaction(self.scope, clock=FixedClock(self.now)) as session:
                became = await attend(session, ids, self.now)
                failures = await _failures(session, ids)
        except Exception as error:  # noqa: BLE001 (a bad row must not stop the others; alone it is named below)
            if len(ids) > 1:
                for application_id in ids:
                    await self._attend([application_id], attend, done)
                return
            await self._report(ids[0], error, done)
            return
        done.became += became
        done.failed |= failures
        for application_id, reason in failures.items():
            log.warning("credit_grant.failed", application_id=application_id, reason=reason)

    async def _report(self, application_id: str, error: Exception, done: SweepSummary) -> None:
        """Write down why an application alone could not be attended to, and let it wait longer."""
        reason = public_reason(error)
        done.failed[application_id] = reason
        if isinstance(error, FarthingError):
            log.warning("credit_grant.failed", application_id=application_id, reason=reason)
        else:
            log.exception("credit_grant.failed", application_id=application_id)
        async with self.database.transaction(self.scope, clock=FixedClock(self.now)) as session:
            for part in await _lock_due(session, [application_id], self.now):
                fail(part.application, reason, self.now)


async def _apply_page(session: AsyncSession, ids: Sequence[str], now: datetime) -> Counter[str]:
    return await settle(session, await _lock_due(session, ids, now), now)


async def _roll_over_page(session: AsyncSession, ids: Sequence[str], now: datetime) -> Counter[str]:
    return Counter({ROLLED_OVER: await settle_rollovers(session, ids, now)})


async def _lock_due(session: AsyncSession, ids: Sequence[str], now: datetime) -> list[DueApplication]:
    """Those of these applications that are due and whose subscriptions nobody else holds, locked in the order in which
    everybody locks: customers, subscriptions, applications."""
    table = CreditGrantApplication
    wanted = select(table.subscription_id).where(in_array(table.id, ids))
    customers = select(Subscription.customer_id).where(Subscription.id.in_(wanted))
    await session.execute(
        select(Customer.id).where(Customer.id.in_(customers)).order_by(Customer.id).with_for_update(read=True)
    )
    subscriptions = await session.scalars(
        select(Subscription)
        .where(Subscription.id.in_(wanted))
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    by_id = {subscription.id: subscription for subscription in subscriptions}
    rows = await session.execute(
        select(table, CreditGrant)
        .join(CreditGrant, CreditGrant.id == table.credit_grant_id)
        .where(
            in_array(table.id, ids),
            in_array(table.subscription_id, by_id),
            table.application_status.in_(OPEN),
            table.next_attempt_at <= now,
        )
        .order_by(table.next_attempt_at, table.id)
        .with_for_update(of=table)
        .execution_options(populate_existing=True)
    )
    return [DueApplication(application, grant, by_id[application.subscription_id]) for application, grant in rows]


async def _failures(session: AsyncSession, ids: Sequence[str]) -> dict[str, str]:
    table = CreditGrantApplication
    rows = await session.execute(
        select(table.id, table.failure_reason).where(
            in_array(table.id, ids), table.application_status == ApplicationStatus.FAILED
        )
    )
    return {application_id: reason or "" for application_id, reason in rows}
