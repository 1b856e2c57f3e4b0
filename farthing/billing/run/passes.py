"""The run: every due subscription moves on, every period that ended gets its invoice, drafts become payable.

Three passes over one environment, each in batches of a few hundred rows per transaction. What a batch did is complete
or undone: killed at any point, the next run finds what is left, because what is due is read from the rows themselves.

1. `roll`: due subscriptions are locked (others' are skipped), brought to now, and every completed period gets a draft
   in the same transaction. Where the delay for late usage has passed, it is computed there and then.
2. `compute`: drafts whose delay has passed since.
3. `finalize`: computed drafts whose time to be corrected is over; computed once more, then finalized.

Rule: docs/rules/billing.md#the-run
Rule: docs/rules/billing.md#automatic-finalization
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.replacement import ClosedPeriods, issue_for_good, replace_due
from farthing.billing.changes.settle import lock_for_settlement, settle_changes
from farthing.billing.periods.drafts import AnnouncedDrafts, WantedDraft, begin, compute_all, new_row
from farthing.billing.periods.finalize import WithoutRate, drafts_without_rate, issue_all, issue_at_once
from farthing.billing.run.unfilled import charging_by_unfilled
from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.core.money import EXACT, ZERO
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.connections.reasons import public_reason
from farthing.storage.postgres import Database
from farthing.storage.queries.bulk import insert_all, is_new, update_all
from farthing.storage.queries.rows import in_array
from farthing.storage.scope import Scope
from farthing.subscriptions import roll_forward
from farthing.subscriptions.tables import Subscription

log = structlog.get_logger(__name__)

BATCH = 200
AT_ONCE = 2
"""Batches under way at a time. More would only wait for one another's numbers."""

Progress = Callable[[str, int], None]
"""Told the name of a pass and how many rows of it were just dealt with."""


CallHelp = Callable[[], Awaitable[None]]
"""Asks others to run the same passes in the same environment."""

Some = Callable[[AsyncSession, Sequence[str]], Awaitable["Summary"]]
"""What is done to the subscriptions of a batch in one transaction."""


@dataclass
class Summary:
    """What a run did. `failed` says why, by subscription or invoice id; `amounts` is what was drafted, by currency."""

    rolled: int = 0
    drafted: int = 0
    computed: int = 0
    skipped: int = 0
    finalized: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)
    """Invoices that became final and have a number."""
    waiting: set[str] = field(default_factory=set)
    """Subscriptions left for the next run, because a meter of theirs does not count all stored events yet."""
    alone: list[str] = field(default_factory=list)
    """Subscriptions that were left out of a batch, because they take a transaction of their own."""

    without_rate: dict[str, str] = field(default_factory=dict)
    """Drafts that wait for an exchange rate, and which."""

    def counts(self) -> dict[str, int]:
        """The same in numbers, for the journal of duties."""
        return {
            "succeeded": self.rolled,
            "drafted": self.drafted,
            "computed": self.computed,
            "skipped": self.skipped,
            "finalized": self.finalized,
            "waiting": len(self.waiting),
            "without_rate": len(self.without_rate),
            "failed": len(self.failed),
        }

    def count(self, invoice: Invoice) -> None:
        """Count what an invoice came to."""
        if invoice.invoice_status is InvoiceStatus.SKIPPED:
            self.skipped += 1
            return
        if invoice.invoice_status is InvoiceStatus.FINALIZED:
            self.finalized += 1
            self.issued.append(invoice.id)
        self.amounts[invoice.currency] = EXACT.add(self.amounts.get(invoice.currency, ZERO), invoice.total)

    def add(self, other: Summary) -> None:
        """Count what a batch did, once it is committed."""
        self.rolled += other.rolled
        self.drafted += other.drafted
        self.computed += other.computed
        self.skipped += other.skipped
        self.finalized += other.finalized
        self.issued += other.issued
        self.waiting |= other.waiting
        self.without_rate |= other.without_rate
        for code, amount in other.amounts.items():
            self.amounts[code] = EXACT.add(self.amounts.get(code, ZERO), amount)


class _TakesATransaction(Exception):
    """A subscription in a batch issues invoices at once."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run in one environment, as of `now`. `dry`: everything is worked out and undone again.

    Several at once share the work: what one has in hand, the others pass over. `call_help` is called once in a pass
    that has more batches than are taken in hand at once.
    """

    database: Database
    scope: Scope
    now: datetime
    batch: int = BATCH
    dry: bool = False
    progress: Progress = lambda name, count: None
    call_help: CallHelp | None = None

    @property
    def effects(self) -> InvoiceHooks:
        """What is done in the transaction of an invoice's change."""
        return self.database.ports.part(InvoicePorts).hooks

    async def all(self) -> Summary:
        """The three passes."""
        done = Summary()
        await self.roll(done)
        await self.compute(done)
        await self.finalize(done)
        return done

    async def roll(self, done: Summary) -> None:
        """Bring due subscriptions to now; one that fails is not tried again in this run.

        What was brought one step on, out of its trial say, may be due again: passes follow until one moves nothing.
        """
        moved = -1
        while moved < done.rolled:
            moved = done.rolled
            await self._roll_pass(done)
            if self.dry:
                return  # what was undone is due again, for ever

    async def _roll_pass(self, done: Summary) -> None:
        await self._deal(self._due(done), self._roll_some, "subscriptions", done)

    async def _due(self, done: Summary) -> AsyncIterator[Sequence[str]]:
        after: tuple[datetime, str] | None = None
        while True:
            async with self.database.transaction(self.scope, clock=FixedClock(self.now), read_only=True) as session:
                due = await roll_forward.due(session, self.now, self.batch, after)
            if not due:
                return
            after = due[-1]
            ids = [subscription_id for _, subscription_id in due if subscription_id not in done.failed]
            if ids:
                yield ids

    async def _roll_some(self, session: AsyncSession, ids: Sequence[str]) -> Summary:
        did = Summary()
        config = await read(session, InvoiceConfig)
        subscriptions, waiting = await self._take_due(session, ids, did)
        later: list[WantedDraft] = []
        ended: list[roll_forward.EndedInTime] = []
        for subscription in subscriptions:
            idle = subscription.id not in waiting
            advance = await roll_forward.advance_to(session, subscription, self.now, nothing_waits=idle)
            did.rolled += 1
            ended += advance.ended
            at_once = [billable for billable in advance.billables if billable.at_once]
            if len(ids) > 1 and (at_once or advance.ended or advance.replacement is not None):
                raise _TakesATransaction  # such as a parent whose child ends: the batch is dealt with one by one
            for end in advance.ended:
                await lock_for_settlement(session, end.before, end.changes)
            for billable in at_once:
                wanted = [WantedDraft(subscription, billable.occasion, billable.period)]
                for invoice in await issue_at_once(
                    session, wanted, self.now, self.effects, without_rate=WithoutRate.WAIT
                ):
                    did.drafted += 1
                    did.count(invoice)
            closed = [billable for billable in advance.billables if not billable.at_once]
            if advance.replacement is not None and await replace_due(
                session,
                subscription,
                advance.replacement,
                ClosedPeriods(closed, issue_for_good),
                self.now,
                self.effects,
            ):
                closed = []
            later += [WantedDraft(subscription, billable.occasion, billable.period) for billable in closed]
        # many at once are written as they will be, in one statement; if one of them is in the way of another's, all
        # is undone, and each is begun by itself
        drafts = (
            [new_row(session, wanted_draft) for wanted_draft in later] if len(ids) > 1 else await begin(session, later)
        )
        did.drafted += len(drafts)
        await update_all(session, subscriptions)
        ready = [
            invoice
            for invoice in drafts
            if invoice.last_computed_at is None and _is_ready_to_compute(invoice, config, self.now)
        ]
        ready_ids = {invoice.id for invoice in ready}
        await insert_all(session, [invoice for invoice in drafts if is_new(invoice) and invoice.id not in ready_ids])
        await compute_all(session, ready, self.now)
        did.computed += len(ready)
        for invoice in ready:
            did.count(invoice)
        for end in ended:
            await settle_changes(session, end.before, end.changes, self.now, self.effects, ends=True)
        return did

    async def _take_due(
        self, session: AsyncSession, ids: Sequence[str], did: Summary
    ) -> tuple[list[Subscription], set[str]]:
        """The due ones of these subscriptions, locked, and for which of them something is scheduled; of several, only
        those that bring about nothing but drafts.

        What issues invoices at once locks wallets and numbers, which is done for one subscription at a time.
        """
        # one lock statement for all; in order of id, as everybody locks
        taken = await session.scalars(
            select(Subscription)
            .where(in_array(Subscription.id, ids), Subscription.due_at <= self.now)
            .order_by(Subscription.id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        subscriptions = list(taken.all())
        waiting = await roll_forward.waiting_ids(session, ids)
        if len(ids) == 1:
            return subscriptions, waiting
        did.alone = [
            subscription.id
            for subscription in subscriptions
            if subscription.id in waiting or roll_forward.may_issue_at_once(subscription, self.now)
        ]
        return [subscription for subscription in subscriptions if subscription.id not in did.alone], waiting

    async def compute(self, done: Summary) -> None:
        """Compute the drafts whose period ended long enough ago for late usage to have come."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            config = await read(session, InvoiceConfig)
        before = self.now - timedelta(seconds=config.compute_delay_seconds)
        drafts = self._waiting(_DRAFT, Invoice.last_computed_at.is_(None), Invoice.period_end <= before)
        await self._deal(drafts, self._compute_some, "drafts", done)

    async def _compute_some(self, session: AsyncSession, ids: Sequence[str]) -> Summary:
        did = Summary()
        config = await read(session, InvoiceConfig)
        drafts = [invoice for invoice in await self._held(session, ids, _DRAFT) if invoice.last_computed_at is None]
        ready = [invoice for invoice in drafts if _is_ready_to_compute(invoice, config, self.now)]
        await compute_all(session, ready, self.now)
        did.computed += len(ready)
        for invoice in ready:
            did.count(invoice)
        return did

    async def finalize(self, done: Summary) -> None:
        """Finalize the drafts that nobody shall correct any more."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            config = await read(session, InvoiceConfig)
        await self._deal(self._waiting(_final(config, self.now)), self._finalize_some, "invoices", done)

    async def _finalize_some(self, session: AsyncSession, ids: Sequence[str]) -> Summary:
        did = Summary()
        config = await read(session, InvoiceConfig)
        drafts = await self._held(session, ids, _final(config, self.now))
        # one that cannot be converted yet stays as it is, so that a test clock does not come to it again and again
        waiting = await drafts_without_rate(session, drafts, self.now)
        drafts = [invoice for invoice in drafts if invoice.id not in waiting]
        # at once means at once: there was no time in which anything could have changed
        stale = [
            invoice for invoice in drafts if invoice.last_computed_at is None or invoice.last_computed_at < self.now
        ]
        # their events say that they became final, not that they were computed
        parts = await compute_all(session, stale, self.now, announced=AnnouncedDrafts.NONE, flush=False)
        await issue_all(session, drafts, self.now, self.effects, parts)
        did.without_rate = {invoice_id: reason.refusal().message for invoice_id, reason in waiting.items()}
        for invoice in drafts:
            if invoice.invoice_status is InvoiceStatus.FINALIZED:
                did.finalized += 1
                did.issued.append(invoice.id)
        return did

    async def without_rate(self) -> dict[str, str]:
        """Drafts that would be final by now if there were an exchange rate for them: which is missing, by id."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            config = await read(session, InvoiceConfig)
            drafts = await session.scalars(
                select(Invoice).where(
                    *_OF_BILLING, _final(config, self.now), Invoice.invoice_status == InvoiceStatus.DRAFT
                )
            )
            waiting = await drafts_without_rate(session, drafts.all(), self.now)
        return {invoice_id: reason.refusal().message for invoice_id, reason in waiting.items()}

    async def _held(self, session: AsyncSession, ids: Sequence[str], *where: ColumnElement[bool]) -> list[Invoice]:
        """The drafts of these subscriptions, locked after their subscriptions, which nobody else holds.

        A subscription's drafts stay together: later periods count what earlier ones charge.
        """
        free = (
            await session.scalars(
                select(Subscription.id)
                .where(in_array(Subscription.id, ids))
                .order_by(Subscription.id)
                .with_for_update(skip_locked=True)
            )
        ).all()
        drafts = await session.scalars(
            select(Invoice)
            .where(in_array(Invoice.subscription_id, free), *_OF_BILLING, *where)
            .order_by(Invoice.period_end, Invoice.id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        return list(drafts.all())

    async def _waiting(self, *where: ColumnElement[bool]) -> AsyncIterator[Sequence[str]]:
        """The subscriptions that have such drafts, batch by batch."""
        after = ""
        while True:
            async with self.database.transaction(self.scope, read_only=True) as session:
                waiting = await session.scalars(_waiting(where, after, self.batch))
                ids = [subscription_id for subscription_id in waiting if subscription_id is not None]
            if not ids:
                return
            after = ids[-1]
            yield ids

    async def _deal(self, batches: AsyncIterator[Sequence[str]], some: Some, name: str, done: Summary) -> None:
        """Deal with each batch as it is found: while the database writes one, the next is worked out."""
        free, begun = asyncio.Semaphore(AT_ONCE), 0
        async with asyncio.TaskGroup() as group:
            async for ids in batches:
                begun += 1
                if begun == AT_ONCE + 1 and self.call_help is not None:
                    await self.call_help()
                await free.acquire()
                task = group.create_task(self.each(ids, some, name, done))
                task.add_done_callback(lambda _: free.release())

    async def each(self, ids: Sequence[str], some: Some, name: str, done: Summary) -> None:
        """All of a batch in one transaction; if that fails, one by one, so that only what fails stays behind."""
        alone: list[str] = []
        try:
            did = await self._in_transaction(ids, some)
            if did.waiting:
                log.info("billing.waits_for_meters", subscriptions=len(did.waiting))
            done.add(did)
            alone = did.alone
        except Exception as error:  # a bad row must not stop the others; alone it will be named below
            if len(ids) > 1:
                for row_id in ids:
                    await self.each([row_id], some, name, done)
                return
            done.failed[ids[0]] = public_reason(error)
            if not isinstance(error, FarthingError):
                log.exception("billing.failed", subscription_id=ids[0])
            else:
                log.warning("billing.failed", subscription_id=ids[0], reason=error.message)
        self.progress(name, len(ids) - len(alone))
        for subscription_id in alone:
            await self.each([subscription_id], some, name, done)

    async def _in_transaction(self, ids: Sequence[str], some: Some) -> Summary:
        async with self.database.session(self.scope, clock=FixedClock(self.now)) as session:
            # plans for the values at hand: those for any value are chosen by statistics, which a run outdates
            await session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            waiting = await charging_by_unfilled(session, ids)
            ready = [subscription_id for subscription_id in ids if subscription_id not in waiting]
            did = await some(session, ready) if ready else Summary()
            did.waiting |= waiting
            if self.dry:
                await session.rollback()
            else:
                await session.commit()
        return did

    async def due_count(self) -> int:
        """How many subscriptions are due now."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            query = select(func.count()).select_from(Subscription).where(Subscription.due_at <= self.now)
            return int((await session.execute(query)).scalar_one())


_DRAFT = Invoice.invoice_status == InvoiceStatus.DRAFT
_OF_BILLING = (
    Invoice.status == Status.PUBLISHED,
    Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
    Invoice.derived_key,
    Invoice.awaits_checkout.is_(False),
)


def _waiting(where: Sequence[ColumnElement[bool]], after: str, limit: int) -> Select[str | None]:
    return (
        select(Invoice.subscription_id)
        .where(*_OF_BILLING, *where, Invoice.subscription_id > after)
        .distinct()
        .order_by(Invoice.subscription_id)
        .limit(limit)
    )


def _is_ready_to_compute(invoice: Invoice, config: InvoiceConfig, now: datetime) -> bool:
    assert invoice.period_end is not None
    return invoice.period_end + timedelta(seconds=config.compute_delay_seconds) <= now


def _final(config: InvoiceConfig, now: datetime) -> ColumnElement[bool]:
    """Which drafts are due to be finalized, and what came to nothing and is due for a last look.

    Rule: docs/rules/billing.md#automatic-finalization
    """
    delay = timedelta(seconds=config.finalization_delay_seconds)
    computed = Invoice.last_computed_at
    return or_(
        and_(
            _DRAFT,
            computed < now - delay if delay else computed <= now,
            or_(Invoice.billing_reason != BillingReason.SUBSCRIPTION_CYCLE, computed >= Invoice.period_end),
        ),
        and_(Invoice.invoice_status == InvoiceStatus.SKIPPED, Invoice.recompute_at < now),
    )
