"""Proof of subscription invoices: every line worked out again from its record, every usage line measured again.

A page of invoices takes a handful of statements, however many lines it has. Reads only. What a line must come to is
`reckoning`; whether no period is missing or billed twice is `completeness`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.usage_charges import Answers, UsagePlan, plan, rate, value_of
from farthing.billing.late_usage.detection import FINISHED, REASONS, RecheckableLine, recheckable_lines, widened_since
from farthing.billing.measurement import measure_usage
from farthing.billing.proof.rating import lines as reckoning
from farthing.calendar.windows import WindowSize
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import tables as products
from farthing.core import currency
from farthing.core.enums import Status
from farthing.core.money import plain
from farthing.customers.tables import ExternalIdTenure
from farthing.events.tables import MeterBackfill
from farthing.events.usage.event_store import LateQuestion, store_of
from farthing.events.usage.stretch import Stretch
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import lines_of
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.metering.model import BEGINNING
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import SubscriptionType
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription


@dataclass(slots=True)
class Proof:
    """What was proved, and what was found. `late`: usage lines whose meter says something else by now because events
    came after the invoice; `unmeasured`: those that cannot be measured as they were, because their events are past
    retention, their meter was widened, or their customer took over events since."""

    invoices: int = 0
    lines: int = 0
    late: int = 0
    unmeasured: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Proof) -> None:
        """Count what another page came to."""
        self.invoices += other.invoices
        self.lines += other.lines
        self.late += other.late
        self.unmeasured += other.unmeasured
        self.differences += other.differences


async def prove(session: AsyncSession, invoices: Sequence[Invoice], kept_since: datetime | None = None) -> Proof:
    """Prove the subscription invoices among `invoices`; void ones and what billing never computed prove nothing.

    `kept_since`: events before it may have been forgotten (None: none ever were).
    """
    ours = {
        invoice.id: invoice
        for invoice in invoices
        if invoice.subscription_id is not None
        and invoice.status is Status.PUBLISHED
        and invoice.invoice_status is not InvoiceStatus.VOIDED
        and invoice.last_computed_at is not None
    }
    if not ours:
        return Proof()
    lines = await lines_of(session, list(ours))
    sources = await _sources(session, [line for some in lines.values() for line in some])
    proof = Proof(len(ours), sum(len(lines[invoice_id]) for invoice_id in ours))
    for invoice in ours.values():
        proof.differences += reckoning.faults(invoice, lines[invoice.id], sources)
    again = [
        invoice.id
        for invoice in ours.values()
        if invoice.invoice_type is InvoiceType.SUBSCRIPTION
        and invoice.invoice_status in FINISHED
        and invoice.billing_reason in REASONS
    ]
    by_id = {line.id: (ours[invoice_id], line) for invoice_id in again for line in lines[invoice_id]}
    await _measure(session, proof, await recheckable_lines(session, again), by_id, kept_since)
    return proof


async def _sources(session: AsyncSession, lines: Sequence[InvoiceLineItem]) -> reckoning.Sources:
    prices = {line.price_id for line in lines if line.price_id is not None}
    subscriptions = {line.subscription_id for line in lines if line.subscription_id is not None}
    meters = {line.meter_id for line in lines if line.meter_id is not None}
    found = await session.scalars(select(Price).where(in_array(Price.id, prices)))
    loaded = await loading.load(session, sorted(subscriptions))
    cut = await session.scalars(
        select(Invoice.subscription_id)
        .where(
            in_array(Invoice.subscription_id, subscriptions),
            Invoice.billing_reason == BillingReason.AUTO_INVOICE_THRESHOLD,
            Invoice.status == Status.PUBLISHED,
        )
        .distinct()
    )
    bucketed = await session.scalars(
        select(products.MeterRow.id).where(
            in_array(products.MeterRow.id, meters), products.MeterRow.bucket_size.is_not(None)
        )
    )
    return reckoning.Sources(
        prices={price.id: rated(price) for price in found},
        members={member.id: member for snapshot in loaded for member in (*snapshot.grouped, snapshot)},
        cut=frozenset(subscription_id for subscription_id in cut if subscription_id is not None),
        bucketed=frozenset(bucketed),
    )


# measuring again


@dataclass(frozen=True, slots=True)
class _Again:
    """A usage line, and what to ask to measure it as it was measured then."""

    line: InvoiceLineItem
    invoice: Invoice
    watched: RecheckableLine
    plan: UsagePlan
    joined_then: bool
    """Whether a child came to its parent at the instant of the computation, as a clock that stands still allows."""


async def _measure(
    session: AsyncSession,
    proof: Proof,
    found: Sequence[RecheckableLine],
    lines: Mapping[str, tuple[Invoice, InvoiceLineItem]],
    kept_since: datetime | None,
) -> None:
    """Ask the usage query builder once more for every usage line, and tell differences from what came late."""
    joined = await _joined(session, found)
    asked: list[_Again] = []
    for watch in found:
        invoice, line = lines[watch.line.id]
        if watch.line.edited or line.raw_usage is None:
            continue
        if _forgotten(watch, kept_since) or _moved_buckets(watch):
            proof.unmeasured += 1
            continue
        came = joined.get(watch.member.id, {}).values()
        plan_then = _as_it_was(watch, invoice, joined)
        asked.append(_Again(line, invoice, watch, plan_then, invoice.last_computed_at in came))
    ranges = list({question: None for recheck in asked for question in recheck.plan.raw})
    answers = (
        await measure_usage(session, ranges, {recheck.plan.meter.id: recheck.plan.meter for recheck in asked})
        if ranges
        else {}
    )
    changed = [(recheck, difference) for recheck in asked if (difference := _difference(recheck, answers)) is not None]
    if not changed:
        return
    differing = [recheck for recheck, _ in changed]
    unknowable = await _unknowable(session, differing)
    late = await _arrived(session, [recheck for recheck in differing if recheck.line.id not in unknowable])
    for recheck, difference in changed:
        if recheck.line.id in unknowable:
            proof.unmeasured += 1
        elif recheck.line.id in late:
            proof.late += 1
        else:
            proof.differences.append(difference)


def _difference(recheck: _Again, answers: Answers) -> Difference | None:
    line = recheck.line
    live = value_of(recheck.plan.meter, recheck.plan.raw, answers)
    if live != recheck.watched.line.usage and not _shrunk_before_the_end(recheck, live):
        return Difference(line.id, "usage measured again", plain(recheck.watched.line.usage), plain(live))
    whole = line.raw_usage == live and line.already_invoiced is None
    if recheck.plan.meter.aggregation.bucket_size is None or not whole or line.adjusted_entitlement_quantity != 0:
        return None
    if _is_cut(recheck):
        return None
    # each bucket at its price, and each window under its commitment
    assert recheck.invoice.last_computed_at is not None
    worked = rate(
        recheck.plan, answers, currency.digits(recheck.invoice.charge_currency), recheck.invoice.last_computed_at
    )
    if worked.amount == line.charge_amount:
        return None
    return Difference(line.id, "buckets priced again", plain(line.charge_amount), plain(worked.amount))


def _shrunk_before_the_end(recheck: _Again, live: Decimal) -> bool:
    """Threshold invoices had charged more than the whole period came to in the end; a line charges no less than 0."""
    return (
        recheck.line.already_invoiced is not None and recheck.line.raw_usage == 0 and live <= recheck.watched.line.usage
    )


def _is_cut(recheck: _Again) -> bool:
    """Whether something beside the line itself decides what it charges."""
    item = recheck.plan.charge.item
    lasting = item.commitment is not None and item.commitment.duration is not None
    return lasting or recheck.watched.member.commitment is not None


def _lives_on(plan: UsagePlan) -> bool:
    """Whether a level is the sum of all its changes ever; retention spares those."""
    meter = plan.meter
    return meter.aggregation.type is AggregationType.WEIGHTED_SUM and meter.reset_usage is ResetUsage.NEVER


def _forgotten(recheckable: RecheckableLine, kept_since: datetime | None) -> bool:
    return kept_since is not None and recheckable.line.window.start < kept_since and not _lives_on(recheckable.plan)


def _moved_buckets(recheckable: RecheckableLine) -> bool:
    """Months are cut at the anchor's day, which a pause may have moved since."""
    return recheckable.plan.meter.aggregation.bucket_size is WindowSize.MONTH and bool(recheckable.member.pauses)


_Joined = Mapping[str, Mapping[tuple[str, datetime], datetime]]
"""When each child of a parent came to inherit it, by customer and start."""


async def _joined(session: AsyncSession, found: Sequence[RecheckableLine]) -> _Joined:
    parents = {recheckable.member.id for recheckable in found if len(recheckable.member.usage_customers) > 1}
    joined: dict[str, dict[tuple[str, datetime], datetime]] = {}
    if parents:
        rows = await session.execute(
            select(
                Subscription.parent_subscription_id,
                Subscription.customer_id,
                Subscription.start_date,
                Subscription.created_at,
            ).where(
                in_array(Subscription.parent_subscription_id, parents),
                Subscription.subscription_type == SubscriptionType.INHERITED,
            )
        )
        for parent_id, customer_id, start, created in rows:
            joined.setdefault(parent_id or "", {})[customer_id, start] = created
    return joined


def _as_it_was(recheckable: RecheckableLine, invoice: Invoice, joined: _Joined) -> UsagePlan:
    """The plan with those customers only who belonged to the subscription when the invoice was computed."""
    as_of = invoice.last_computed_at
    assert as_of is not None
    owner, *others = recheckable.member.usage_customers
    known = joined.get(recheckable.member.id, {})
    there = [child for child in others if known.get((child.customer_id, child.start), as_of) <= as_of]
    member: SubscriptionSnapshot = replace(recheckable.member, usage_customers=(owner, *there))
    return plan(member, recheckable.plan.charge, recheckable.plan.meter, None)


async def _unknowable(session: AsyncSession, changed: Sequence[_Again]) -> set[str]:
    """Of lines that measure otherwise now: those with a meter widened, or customers that took events over, since."""
    meters = {recheck.plan.meter.id for recheck in changed}
    customers = {customer for recheck in changed for customer in _customers(recheck)}
    backfills = {
        row.id: row for row in await session.scalars(select(MeterBackfill).where(in_array(MeterBackfill.id, meters)))
    }
    taken_over = await _taken_over(session, customers)
    return {
        recheck.line.id
        for recheck in changed
        if recheck.joined_then
        or any(_is_later(taken_over.get(customer), recheck) for customer in _customers(recheck))
        or _was_widened(recheck, backfills.get(recheck.plan.meter.id))
    }


async def _taken_over(session: AsyncSession, customers: Collection[str]) -> dict[str, int]:
    """When customers last took an external id with what had arrived under it, in the order of arrival."""
    tenure = ExternalIdTenure
    rows = await session.execute(
        select(tenure.customer_id, func.max(tenure.taken_sequence))
        .where(in_array(tenure.customer_id, customers), tenure.since_sequence < tenure.taken_sequence)
        .group_by(tenure.customer_id)
    )
    return dict(rows.all())


def _is_later(sequence: int | None, recheck: _Again) -> bool:
    mark = recheck.invoice.usage_watermark
    return sequence is not None and mark is not None and sequence > mark


def _was_widened(recheck: _Again, backfill: MeterBackfill | None) -> bool:
    mark = recheck.invoice.usage_watermark
    return mark is not None and widened_since(backfill, mark)


def _stretches(recheck: _Again) -> Iterator[tuple[str, datetime, datetime]]:
    """Whose events count on the line, and from when to when."""
    for question in recheck.plan.raw:
        pieces = (Stretch(question.customers, question.start, question.end), *question.more)
        for piece in pieces:
            since = BEGINNING if _lives_on(recheck.plan) else question.level_since or piece.start
            for customer in piece.customers:
                yield customer, since, piece.end


def _customers(recheck: _Again) -> set[str]:
    return {customer for customer, _, _ in _stretches(recheck)}


async def _arrived(session: AsyncSession, changed: Sequence[_Again]) -> set[str]:
    """The lines for which an event came, or was withdrawn, after their invoice had read usage; without a watermark
    nobody can tell."""
    late = {recheck.line.id for recheck in changed if recheck.invoice.usage_watermark is None}
    asked = [
        LateQuestion(recheck.line.id, customer, since, until, recheck.invoice.usage_watermark)
        for recheck in changed
        if recheck.invoice.usage_watermark is not None
        for customer, since, until in _stretches(recheck)
    ]
    if asked:
        late |= await store_of(session).usage.find_late(session, asked)
    return late
