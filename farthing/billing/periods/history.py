"""What earlier invoices have charged, as far as later ones count it: threshold invoices of the same period, and the
usage that commitments over several periods have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import CalculationInput
from farthing.billing.calculation.commitments import span_of
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.calculation.progressive import Charged
from farthing.billing.late_usage.windows import CommitmentUse, commitment_use
from farthing.calendar.billing import BillingPeriod
from farthing.calendar.period import Period
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array, not_in_array
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import SubscriptionLineItem

COUNTING = (InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED)

Key = tuple[str, str, str]
"""A line: subscription, line item or nothing, kind."""


@dataclass(frozen=True, slots=True)
class ThresholdCut:
    """A period that threshold invoices have cut: when it really began, and what they have charged, by line."""

    since: datetime
    charged: Mapping[Key, Charged]


async def threshold_cuts(
    session: AsyncSession, works: Sequence[CalculationInput], own: Collection[str]
) -> dict[str, ThresholdCut]:
    """The periods among `works` that threshold invoices, but for `own`, have cut, by subscription."""
    watched = [work for work in works if work.snapshot.threshold]
    if not watched:
        return {}
    line = InvoiceLineItem
    rows = await session.execute(
        select(
            Invoice.subscription_id,
            Invoice.period_start,
            Invoice.period_end,
            line.subscription_line_item_id,
            line.charge_amount,
            line.quantity,
            line.raw_usage,
            line.kind,
        )
        .join(line, line.invoice_id == Invoice.id)
        .where(
            in_array(Invoice.subscription_id, [work.snapshot.id for work in watched]),
            Invoice.billing_reason == BillingReason.AUTO_INVOICE_THRESHOLD,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(COUNTING),
            Invoice.period_end > min(_earliest(work) for work in watched),
            not_in_array(Invoice.id, own),
            line.status == Status.PUBLISHED,
        )
    )
    by_end: dict[tuple[str | None, datetime | None], list[tuple[datetime, Key, Charged]]] = defaultdict(list)
    for subscription_id, start, end, item_id, amount, quantity, raw, kind in rows:
        assert subscription_id is not None and start is not None, "billing names subscription and period"  # noqa: PT018
        key = (subscription_id, item_id or "", "" if kind is None else kind.value)
        by_end[subscription_id, end].append((start, key, Charged(amount, quantity, raw or ZERO)))
    found: dict[str, ThresholdCut] = {}
    for work in watched:
        since, charged = work.period.start, dict[Key, Charged]()
        while lines := by_end.get((work.snapshot.id, since)):
            for _, key, part in lines:
                charged[key] = charged[key].plus(part) if key in charged else part
            since = lines[0][0]
        if since < work.period.start:
            found[work.snapshot.id] = ThresholdCut(since, charged)
    return found


def _earliest(work: CalculationInput) -> datetime:
    """Nothing that cut the work's period ended before: known of the open period, for others it is the very start."""
    full = work.snapshot.full_period_start
    return full if full <= work.period.start else work.snapshot.start


async def earlier_charges(
    session: AsyncSession,
    works: Sequence[CalculationInput],
    own: Collection[str],
    late: Mapping[str, Sequence[DraftLine]],
) -> dict[str, dict[str, Decimal]]:
    """By the subscription that is invoiced: what was used before, at its cost, in the windows of the commitments that
    run over several periods; by the id of the subscription, or of the line item, whose commitment it is.

    What the invoices charge as `late`, by subscription, was used before, too. A line item goes on where the version
    before it stopped, if that had the same commitment.
    """
    windows: dict[str, Period] = {}
    billed: dict[str, str] = {}
    for work in works:
        for member in work.members:
            for id, duration in _durations(member).items():  # noqa: A001 (of a subscription or an item)
                span = span_of(member, duration, work.logical)
                if span is not None and span.window.start < work.logical.start:
                    windows[id] = Period(span.window.start, work.logical.start)
                    billed[member.id] = work.snapshot.id
    if not windows:
        return {}
    used = await commitment_use(session, billed, own)
    used += [
        CommitmentUse(
            subscription_id, line.subscription_id, "" if line.item is None else line.item.id, line.start, line.base
        )
        for subscription_id, lines in late.items()
        for line in lines
        if line.base is not None and line.subscription_id in billed
    ]
    heirs = await _heirs(session, works, windows)
    found: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for use in used:
        prior = found[billed[use.subscription_id]]
        for id in (use.subscription_id, *heirs.get(use.item_id, ())):  # noqa: A001
            if id in windows and windows[id].contains(use.start):
                prior[id] = EXACT.add(prior[id], use.base)
    return {subscription_id: dict(prior) for subscription_id, prior in found.items()}


def _durations(member: SubscriptionSnapshot) -> dict[str, BillingPeriod]:
    """How long each commitment of a subscription runs that says so; the subscription's own, and its line items'."""
    found = {}
    if member.commitment is not None and member.commitment.duration is not None:
        found[member.id] = member.commitment.duration
    for item in member.items:
        if item.commitment is not None and item.commitment.duration is not None:
            found[item.id] = item.commitment.duration
    return found


async def _heirs(
    session: AsyncSession, works: Sequence[CalculationInput], windows: Mapping[str, Period]
) -> dict[str, list[str]]:
    """The line items among those with `windows` that count what was used of each: the item itself, and the versions
    that follow it under the same commitment."""
    ours = [item for work in works for member in work.members for item in member.items if item.id in windows]
    heirs = defaultdict(list, {item.id: [item.id] for item in ours})
    if all(item.replaces_id is None for item in ours):
        return heirs
    table = SubscriptionLineItem
    stored = await session.scalars(
        select(table).where(
            in_array(table.subscription_id, {item.subscription_id for item in ours}),
            table.commitment_duration.is_not(None),
        )
    )
    versions = {row.id: row for row in stored}
    for item in ours:
        later = versions.get(item.id)
        while later is not None:
            former = versions.get(later.replaces_id or "")
            if former is None or _promise(former) != _promise(later):
                break
            heirs[former.id].append(item.id)
            later = former
    return heirs


def _promise(row: SubscriptionLineItem) -> tuple[object, ...]:
    return (
        row.commitment_type,
        row.commitment_amount,
        row.commitment_quantity,
        row.commitment_overage_factor,
        row.commitment_true_up_enabled,
        row.commitment_windowed,
        row.commitment_duration,
    )
