"""Test clocks: an environment's time stands still until its owner moves it, and all that is due on the way is done.

The clock goes from one due instant to the next, never past one, so that a year in a second makes the same invoices as
a year of waiting: periods roll, drafts are computed and finalized after their delays, invoices fall due. API, page
and command line all move it through `Clockwork.move`, one at a time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import structlog
from sqlalchemy import exists, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from farthing.billing.clock.due_instants import (
    DueInstant,
    DueWork,
    PendingWork,
    is_recompute,
    left_over,
    next_due_instant,
)
from farthing.billing.collection.collect import collect_due
from farthing.billing.dunning.retries import carry_out_due
from farthing.billing.entitlement_grants.evaluation import GrantEvaluation
from farthing.billing.ports import BillingPorts, UsageEvaluations
from farthing.billing.run.automatic_cancellation import cancel_unpaid
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.recompute import recompute_drafts
from farthing.billing.run.renewal_notice import announce_renewals
from farthing.billing.run.thresholds import crossing, invoice_thresholds, is_tick, tick_from
from farthing.billing.run.unfilled import fill_meters
from farthing.billing.tables import ClockAdvance
from farthing.core.clock import FixedClock, as_utc, instant
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.credits.grants.enums import ApplicationStatus
from farthing.credits.grants.sweep import GrantSweep, SweepSummary
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.wallets.evaluation import any_is_looked_at, evaluate_due
from farthing.identity.credentials import keys
from farthing.identity.tables import Environment, EnvironmentType
from farthing.invoices.lifecycle.due_dates import notify_overdue
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing.reconciliation import reconcile
from farthing.storage.connections.reasons import public_reason
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find, lock_row
from farthing.storage.scope import SYSTEM, Scope
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

MOST_STEPS = 5_000
"""In how many stops a jump is made at most; a longer one passes several due instants at a time."""
LATEST_YEAR = 2200
MOST_FAILURES_KEPT = 20
_OVERDUE = 500
_LOCK = "hashtextextended('clock/' || :environment, 0)"
_IS_HELD = f"""
SELECT EXISTS (
    SELECT FROM pg_locks, (SELECT {_LOCK} AS key) AS clock
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = ((key >> 32) & 4294967295)::oid AND objid = (key & 4294967295)::oid
)
"""
FAILURES, WAITING = "failures", "waiting_for_rates"
"""Where the counts of a move keep what failed, and which invoices wait for an exchange rate at its end, by id: why."""

ALL: frozenset[DueWork] = frozenset(DueWork)
NOTHING: frozenset[DueWork] = frozenset()
_MOVES_PERIODS = frozenset({DueWork.ROLL, DueWork.THRESHOLD, DueWork.PAYMENT, DueWork.GRACE})
"""After these a subscription may be in another period, or in another state."""
_MAKES_CLAIMS = _MOVES_PERIODS | {DueWork.COMPUTE, DueWork.FINALIZE, DueWork.COLLECT, DueWork.LAST_LOOK}
_FAILS_CHARGES = frozenset({DueWork.DUNNING, DueWork.PAYMENT})
"""After these a step of dunning may be due."""
_moving: set[asyncio.Task[ClockAdvance]] = set()

OnTheWay = Callable[[ClockAdvance], None]
"""Told how far a move has come, after each stop."""


@dataclass(frozen=True, slots=True)
class Clockwork:
    """One environment's clock. `gateways` None collects nothing."""

    database: Database
    scope: Scope
    gateways: Gateways | None = None

    async def move(
        self, frozen_time: datetime | None, on_move: OnTheWay = lambda move: None, *, move_id: str | None = None
    ) -> ClockAdvance:
        """Let the clock stand at a time, and do all that is due until then; None lets it run again.

        Raises NotFound; ValidationFailed for a time before the clock's, unless nothing was sold yet;
        InvalidOperation in a production environment, while somebody else moves it, and when the work on the way fails:
        then the clock stands where that was, what was done stays done, and the same move made again goes on from there.
        `move_id`: a move that exists under it already is gone on with, and is no second one.
        """
        async with self._alone():
            move = await self._known(move_id) or await self._begun(frozen_time, move_id or new_id(Kind.RUN))
            return move if move.finished_at is not None else await self._advanced(move, on_move)

    async def _known(self, move_id: str | None) -> ClockAdvance | None:
        if move_id is None:
            return None
        async with self.database.transaction(self.scope, read_only=True) as session:
            return await session.get(ClockAdvance, move_id)

    async def move_within(self, seconds: float, frozen_time: datetime | None, move_id: str | None = None) -> None:
        """The same, but wait for it no longer than that: a longer move goes on by itself, and `latest` says how far.

        Raises as `move` does, if it does so in time.
        """
        task = asyncio.create_task(self.move(frozen_time, move_id=move_id), name=f"clock {self.scope.environment_id}")
        _moving.add(task)
        task.add_done_callback(_ended)
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()

    async def latest(self) -> tuple[datetime | None, ClockAdvance | None]:
        """Where the clock stands (None: it runs), and its last move; one that nobody makes any more says so."""
        async with self.database.transaction(SYSTEM, read_only=True) as session:
            environment = await find(session, Environment, self.scope.environment_id)
        async with self.database.session(self.scope, read_only=True) as session:
            newest = select(ClockAdvance).order_by(ClockAdvance.created_at.desc(), ClockAdvance.id.desc()).limit(1)
            move = await session.scalar(newest)
            if move is not None and move.finished_at is None and not move.error:
                key = {"environment": self.scope.environment_id}
                if not await session.scalar(text(_IS_HELD), key):
                    session.expunge(move)
                    move.error = "interrupted; set it again to go on"
        return environment.frozen_time, move

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the clock: a lock that goes with its connection, so that a process that dies leaves nothing held."""
        key = {"environment": self.scope.environment_id}
        async with self.database.engine.connect() as connection:
            pinned = await connection.execution_options(isolation_level="AUTOCOMMIT")
            if not await pinned.scalar(text(f"SELECT pg_try_advisory_lock({_LOCK})"), key):
                raise await self._taken()
            try:
                yield
            finally:
                # whatever happened, a pooled connection must not keep it
                await asyncio.shield(_unlocked(pinned, key))

    async def _taken(self) -> InvalidOperation:
        _, other = await self.latest()
        if other is None or other.finished_at is not None:
            return InvalidOperation("The clock is being moved; wait until it stands", retry_after_seconds=1)
        target, reached = instant(other.target), instant(other.reached or other.target)
        return InvalidOperation(
            f"The clock is being moved to {target} and has come to {reached}; wait until it stands",
            {"target": target, "reached": reached},
            retry_after_seconds=1,
        )

    async def _begun(self, frozen_time: datetime | None, move_id: str) -> ClockAdvance:
        async with self.database.transaction(SYSTEM) as session:
            environment = await lock_row(session, Environment, self.scope.environment_id)
            if environment.type is not EnvironmentType.DEVELOPMENT:
                raise InvalidOperation(
                    "Only a development environment has a test clock", {"environment_id": environment.id}
                )
            started = environment.frozen_time
        now = started or self.database.clock.now()
        if frozen_time is None:
            await self._show(None)
            return await self._written(move_id, started, now, finished=True)
        frozen_time = as_utc(frozen_time)
        if frozen_time.year > LATEST_YEAR:
            raise ValidationFailed.of("frozen_time", f"must not be after the year {LATEST_YEAR}")
        if frozen_time < now and await self._has_lived():
            raise ValidationFailed.of("frozen_time", f"must not be before {instant(now)}: a clock does not go back")
        if frozen_time < now or (started is None and frozen_time == now):
            await self._show(frozen_time)
            return await self._written(move_id, started, frozen_time, finished=True)
        if started is None:
            await self._show(now)
        return await self._written(move_id, now, frozen_time, finished=False)

    async def _advanced(self, move: ClockAdvance, on_move: OnTheWay) -> ClockAdvance:
        """Stop wherever something is due, do it, go on; what was left undone where the clock stands comes first."""
        at, target = move.reached or move.started_from or move.target, move.target
        counted = {name: count for name, count in move.counts.items() if name not in {FAILURES, WAITING, "failed"}}
        done: Counter[str] = Counter(counted)
        failures: dict[str, str] = dict(move.counts.get(FAILURES, {}))
        async with self.database.transaction(self.scope, read_only=True) as session:
            looks_at_wallets = await any_is_looked_at(session)
        await self._repeat(at, self._usage_evaluations.schedule)
        try:
            async for stop in self._stops(at, target):
                if stop.at > at:
                    at = stop.at
                    await self._show(at)
                await self._work(stop, done, failures, looks_at_wallets=looks_at_wallets)
                move = await self._reached(move.id, at, done, failures)
                on_move(move)
        except Exception as error:
            log.exception("clock.stopped", environment_id=self.scope.environment_id, at=instant(at))
            reason = public_reason(error)
            await self._reached(move.id, at, done, failures, error=reason)
            raise InvalidOperation(
                f"The clock stopped at {instant(at)} on its way to {instant(target)}: {reason}. Set it again to go on",
                {"reached": instant(at), "target": instant(target)},
            ) from error
        waiting = await Run(self.database, self.scope, target).without_rate()
        return await self._reached(move.id, target, done, failures, waiting=waiting, finished=True)

    async def _stops(self, at: datetime, target: datetime) -> AsyncIterator[DueInstant]:
        """Where to stop, and for what: where the clock stands for what is left over, then wherever something falls
        due, the target at last. Each is asked for when the one before is done with.

        The waits are those that stood when the move began. When usage comes to a threshold is searched for again
        whenever a period has been moved.
        """
        async with self.database.transaction(self.scope, read_only=True) as session:
            waits = await PendingWork.read(session)
            stop = await left_over(session, at, waits)
        yield stop
        crossed = await crossing(Run(self.database, self.scope, at), target)
        for step in itertools.count(1):
            if at >= target:
                return
            async with self.database.transaction(self.scope, read_only=True) as session:
                stop = await next_due_instant(session, at, waits) or DueInstant(target, NOTHING)
            if crossed is not None and crossed <= stop.at:
                stop = DueInstant(crossed, (stop.due if crossed == stop.at else NOTHING) | {DueWork.THRESHOLD})
            if step > MOST_STEPS // 2:
                # a jump with more stops than that takes several due instants together, so that it ends
                stop = DueInstant(
                    min(tick_from(max(stop.at, at + (target - at) / max(MOST_STEPS - step, 1))), target), ALL
                )
            if stop.at > target:
                stop = DueInstant(target, NOTHING)
            yield stop
            at = stop.at
            if not stop.due.isdisjoint(_MOVES_PERIODS):
                crossed = await crossing(Run(self.database, self.scope, at), target)

    async def _has_lived(self) -> bool:
        async with self.database.transaction(self.scope, read_only=True) as session:
            books = exists().select_from(Subscription), exists().select_from(Invoice)
            return bool(await session.scalar(select(or_(*books))))

    async def _show(self, at: datetime | None) -> None:
        """Let every request see this time from now on."""
        async with self.database.transaction(SYSTEM) as session:
            await session.execute(
                update(Environment).where(Environment.id == self.scope.environment_id).values(frozen_time=at)
            )
            await keys.invalidate(session, self.scope.environment_id)

    async def _written(
        self, move_id: str, started: datetime | None, target: datetime, *, finished: bool
    ) -> ClockAdvance:
        now = self.database.clock.now()
        move = ClockAdvance(
            id=move_id,
            started_from=started,
            target=target,
            reached=target if finished else started,
            finished_at=now if finished else None,
        )
        async with self.database.transaction(self.scope) as session:
            session.add(move)
        return move

    async def _reached(
        self,
        id: str,
        at: datetime,
        done: Counter[str],
        failures: dict[str, str],
        *,
        waiting: Mapping[str, str] = MappingProxyType({}),
        finished: bool = False,
        error: str = "",
    ) -> ClockAdvance:
        async with self.database.transaction(self.scope) as session:
            move = await lock_row(session, ClockAdvance, id)
            move.reached, move.error = at, error
            move.counts = {**done, "failed": len(failures)}
            if failures:
                move.counts[FAILURES] = dict(list(failures.items())[:MOST_FAILURES_KEPT])
            if waiting:
                move.counts[WAITING] = dict(list(waiting.items())[:MOST_FAILURES_KEPT])
            if finished:
                move.finished_at = self.database.clock.now()
        return move

    async def _work(
        self, stop: DueInstant, done: Counter[str], failures: dict[str, str], *, looks_at_wallets: bool
    ) -> None:
        """What is due at a stop, and what may follow from it there."""
        at, due = stop.at, stop.due
        run = Run(self.database, self.scope, at)
        billed, again, cancelled, notices = Summary(), Summary(), Summary(), Summary()
        await fill_meters(self.database, self.scope, at)
        await self._end_payments(stop)
        evaluated = await GrantEvaluation(self.database, self.scope, at).run()
        if due & _MOVES_PERIODS:
            await run.roll(billed)
        grants = GrantSweep(self.database, self.scope, at)
        granted = SweepSummary()
        if due & {*_MOVES_PERIODS, DueWork.GRANT}:
            granted = await grants.run()
        if due & {*_MOVES_PERIODS, DueWork.COMPUTE}:
            await run.compute(billed)
        if is_tick(at) and due & _MOVES_PERIODS:
            await invoice_thresholds(run, billed)
        if is_recompute(at) and DueWork.RECOMPUTE in due:
            await recompute_drafts(run, again)
        if due & _MAKES_CLAIMS:
            await run.finalize(billed)
            await grants.roll_over(granted)
        failures |= await self._try_charges_again(stop)
        if due & {*_MAKES_CLAIMS, DueWork.GRACE, DueWork.DUNNING}:
            await cancel_unpaid(run, cancelled)
        if due & {*_MOVES_PERIODS, DueWork.NOTICE}:
            await announce_renewals(run, notices)
        if self.gateways is not None and due & _MAKES_CLAIMS:
            failures |= await collect_due(self.database, self.scope, self.gateways, FixedClock(at))
        if due & {*_MAKES_CLAIMS, DueWork.OVERDUE}:
            done["overdue_told"] += await self._tell_overdue(at)
        await self._repeat(at, self._usage_evaluations.schedule)
        await self._repeat(at, self._usage_evaluations.evaluate_due)
        done["lots_expired"] += await self._move_credits(stop, looks_at_wallets=looks_at_wallets)
        done.update(
            {
                "rolled": billed.rolled,
                "drafted": billed.drafted,
                "computed": billed.computed + again.computed,
                "skipped": billed.skipped,
                "finalized": billed.finalized,
                "cancelled": cancelled.rolled,
                "renewals_told": notices.rolled,
                "grants_exhausted": evaluated.exhausted,
                "grants_applied": granted.became[ApplicationStatus.APPLIED.value],
            }
        )
        failures |= granted.failed | evaluated.failed
        for summary in (billed, again, cancelled, notices):
            failures |= summary.failed

    async def _end_payments(self, stop: DueInstant) -> None:
        """Ask about payments that are in flight for too long, and end checkouts that nobody has paid in time."""
        async with self.database.session(self.scope, clock=FixedClock(stop.at)) as session:
            if self.gateways is not None and DueWork.PAYMENT in stop.due:
                await reconcile(session, self.gateways, stop.at)
            if DueWork.CHECKOUT in stop.due:
                await self.database.ports.part(BillingPorts).checkout_expiry.expire_due(session, stop.at)

    async def _try_charges_again(self, stop: DueInstant) -> dict[str, str]:
        """The steps of dunning that are due at a stop; why some could not even be tried, by invoice."""
        if self.gateways is None or not stop.due & _FAILS_CHARGES:
            return {}
        return await carry_out_due(self.database, self.scope, self.gateways, FixedClock(stop.at))

    async def _move_credits(self, stop: DueInstant, *, looks_at_wallets: bool) -> int:
        """What lots and wallets do by themselves at a stop; how many lots expired."""
        expires = stop.due & {*_MAKES_CLAIMS, DueWork.EXPIRY}
        expired = await self._repeat(stop.at, expire_due) if expires else 0
        if looks_at_wallets:
            await self._repeat(stop.at, evaluate_due)
        return expired

    @property
    def _usage_evaluations(self) -> UsageEvaluations:
        return self.database.ports.part(BillingPorts).usage_evaluations

    async def _repeat(self, at: datetime, work: Callable[[AsyncSession, datetime], Awaitable[int]]) -> int:
        """Do batches of some work, each in a transaction of its own, until none is left; how much there was."""
        did = 0
        while True:
            async with self.database.transaction(self.scope, clock=FixedClock(at)) as session:
                batch = await work(session, at)
            if not batch:
                return did
            did += batch

    async def _tell_overdue(self, at: datetime) -> int:
        recorded = 0
        async with self.database.transaction(self.scope, clock=FixedClock(at)) as session:
            while batch := await notify_overdue(session, at, _OVERDUE):
                recorded += batch
        return recorded


async def _unlocked(pinned: AsyncConnection, key: dict[str, str]) -> None:
    try:
        await pinned.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"), key)
    except SQLAlchemyError:
        await pinned.invalidate()


def _ended(task: asyncio.Task[ClockAdvance]) -> None:
    _moving.discard(task)
    if not task.cancelled():
        task.exception()  # it is on the move and in the log; nobody may be waiting for it any more
