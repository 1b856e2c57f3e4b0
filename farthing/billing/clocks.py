"""Test clocks: an environment's time stands still until its owner moves it, and all that is due on the way is done.

The clock goes from one due instant to the next, never past one, so that a year in a second makes the same invoices as
a year of waiting: periods roll, drafts are computed and become claims after their delays, claims fall due.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select, update

from farthing.billing.collecting import collect
from farthing.billing.dunning import cancel_unpaid, tell_renewals
from farthing.billing.run import Run, Summary
from farthing.billing.tables import ClockAdvance
from farthing.billing.thresholds import invoice_thresholds
from farthing.core.clock import FixedClock, as_utc, instant
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity import keys
from farthing.identity.configuration import read
from farthing.identity.setting_values import InvoiceConfig
from farthing.identity.tables import Environment, EnvironmentType
from farthing.invoices.overdue import notify_overdue
from farthing.invoices.standing import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.payments.gateways import Gateways
from farthing.storage.postgres import Database
from farthing.storage.rows import find, locked
from farthing.storage.scope import SYSTEM, Scope
from farthing.subscriptions.tables import Subscription

MOST_STEPS = 5_000
"""In how many stops a jump is made at most; a longer one passes several due instants at a time."""
_AFTER = timedelta(microseconds=1)
_OVERDUE = 500

Task = Callable[[Run, Summary], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Clockwork:
    """One environment's clock. `gateways` None collects nothing."""

    database: Database
    scope: Scope
    gateways: Gateways | None = None

    async def set(self, frozen_time: datetime | None) -> ClockAdvance:
        """Freeze the clock at a time; a later one than now is a move, still to be made by `advance`.

        None lets it run again. Raises NotFound, InvalidOperation in a production environment, ValidationFailed for a
        time before the clock's, unless nobody has subscribed to anything yet.
        """
        async with self.database.transaction(SYSTEM) as session:
            environment = await locked(session, Environment, self.scope.environment_id)
            if environment.type is not EnvironmentType.DEVELOPMENT:
                raise InvalidOperation(
                    "Only a development environment has a test clock", {"environment_id": environment.id}
                )
            started = environment.frozen_time
        now = started or self.database.clock.now()
        if frozen_time is None:
            await self._show(None)
            return await self._written(started, now, finished=True)
        frozen_time = as_utc(frozen_time)
        if frozen_time < now and await self._has_lived():
            raise ValidationFailed.of("frozen_time", f"must not be before {instant(now)}: a clock does not go back")
        if frozen_time <= now:
            await self._show(frozen_time)
            return await self._written(started, frozen_time, finished=True)
        await self._show(now)
        return await self._written(now, frozen_time, finished=False)

    async def advance(self, id: str) -> ClockAdvance:
        """Make the move with this id: stop wherever something is due, do it, go on. What was done stays done."""
        async with self.database.transaction(self.scope) as session:
            move = await find(session, ClockAdvance, id)
        at, target = move.reached or move.started_from or move.target, move.target
        counts: Counter[str] = Counter(move.counts)
        try:
            for step in itertools.count():
                if at >= target:
                    break
                due = await self._next_due(at)
                # a jump with more stops than that takes several due instants together, so that it ends
                stride = (target - at) / max(MOST_STEPS - step, 1) if step > MOST_STEPS // 2 else timedelta(0)
                at = target if due is None else min(max(due, at + stride), target)
                await self._show(at)
                counts.update(await self._work(at))
                await self._reached(id, at, counts)
            counts.update(await self._work(target))
        except Exception as error:
            await self._reached(id, at, counts, error=f"{type(error).__name__}: {error}")
            raise
        return await self._reached(id, target, counts, finished=True)

    async def latest(self) -> tuple[datetime | None, ClockAdvance | None]:
        """Where the clock stands (None: it runs), and its last move."""
        async with self.database.transaction(SYSTEM, read_only=True) as session:
            environment = await find(session, Environment, self.scope.environment_id)
        async with self.database.transaction(self.scope, read_only=True) as session:
            newest = select(ClockAdvance).order_by(ClockAdvance.created_at.desc(), ClockAdvance.id.desc()).limit(1)
            return environment.frozen_time, await session.scalar(newest)

    async def _has_lived(self) -> bool:
        async with self.database.transaction(self.scope, read_only=True) as session:
            return bool(await session.scalar(select(exists().select_from(Subscription))))

    async def _show(self, at: datetime | None) -> None:
        """Let every request see this time from now on."""
        async with self.database.transaction(SYSTEM) as session:
            await session.execute(
                update(Environment).where(Environment.id == self.scope.environment_id).values(frozen_time=at)
            )
            await keys.changed(session, self.scope.environment_id)

    async def _written(self, started: datetime | None, target: datetime, *, finished: bool) -> ClockAdvance:
        now = self.database.clock.now()
        move = ClockAdvance(
            id=new_id(Kind.RUN),
            started_from=started,
            target=target,
            reached=target if finished else started,
            finished_at=now if finished else None,
        )
        async with self.database.transaction(self.scope) as session:
            session.add(move)
        return move

    async def _reached(
        self, id: str, at: datetime, counts: Counter[str], *, finished: bool = False, error: str = ""
    ) -> ClockAdvance:
        async with self.database.transaction(self.scope) as session:
            move = await locked(session, ClockAdvance, id)
            move.reached, move.counts, move.error = at, dict(counts), error
            if finished:
                move.finished_at = self.database.clock.now()
        return move

    async def _work(self, at: datetime) -> Counter[str]:
        """All periodic work of this environment as of `at`, until nothing of it is due any more."""
        run = Run(self.database, self.scope, at)
        done = Summary()
        await run.roll(done)
        await run.compute(done)
        await invoice_thresholds(run, done)
        await run.finalize(done)
        await cancel_unpaid(run, done)
        await tell_renewals(run, done)
        await self._collect(done, at)
        async with self.database.transaction(self.scope, clock=FixedClock(at)) as session:
            while await notify_overdue(session, at, _OVERDUE):
                pass
        return Counter(done.counts())

    async def _collect(self, done: Summary, at: datetime) -> None:
        if self.gateways is None or not done.to_collect:
            return
        clock = FixedClock(at)
        async with self.database.session(self.scope, clock=clock) as session:
            await collect(session, self.gateways, done.to_collect, clock)
            await session.commit()

    async def _next_due(self, after: datetime) -> datetime | None:
        """The next instant at which there is something to do."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            config = await read(session, InvoiceConfig)
            rolls = await session.scalar(select(func.min(Subscription.due_at)).where(Subscription.due_at > after))
            drafts = (
                Invoice.status == Status.PUBLISHED,
                Invoice.invoice_status == InvoiceStatus.DRAFT,
                Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
            )
            ends = await session.scalar(
                select(func.min(Invoice.period_end)).where(
                    *drafts,
                    Invoice.last_computed_at.is_(None),
                    Invoice.period_end > after - timedelta(seconds=config.compute_delay_seconds),
                )
            )
            delay = timedelta(seconds=config.finalization_delay_seconds)
            computed = await session.scalar(
                select(func.min(Invoice.last_computed_at)).where(*drafts, Invoice.last_computed_at >= after - delay)
            )
            falls_due = await session.scalar(
                select(func.min(Invoice.due_date)).where(
                    Invoice.invoice_status == InvoiceStatus.FINALIZED,
                    Invoice.amount_remaining > 0,
                    Invoice.due_date >= after,
                )
            )
        found = [
            rolls,
            None if ends is None else ends + timedelta(seconds=config.compute_delay_seconds),
            None if computed is None else computed + delay + _AFTER,
            None if falls_due is None else falls_due + _AFTER,
        ]
        later = [moment for moment in found if moment is not None and moment > after]
        return min(later, default=None)
