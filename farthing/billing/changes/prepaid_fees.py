"""What stands behind a fee when it changes in mid-period: what was invoiced for it, and what was taken from that.

Money moves on when a line item is succeeded by another: what was paid for five seats pays, as a credit, for a part of
the ten that follow, and is worth as much when those go. So the settlements of a service window are followed in order.
Rule: docs/rules/proration.md#what-stands-behind-a-fee
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import DiscountShare, Served, fee_of
from farthing.billing.calculation.service_time import NO_TIME, ServiceSpan, service_of, service_span
from farthing.billing.changes.fee_sources import paid_by_credit, taken_by_hand
from farthing.billing.tables import ProrationSettlement
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.invoices.figures.computation import charge_totals
from farthing.invoices.figures.terms import coupons_on
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import lines_of
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.item_changes import ItemAction, ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class FeeTransfer:
    """One item's part in a settlement: `credit` taken from `before`, `charge` owed for `after`, and what of the credit
    was `given` back to the payer instead."""

    before: str | None
    after: str | None
    credit: Decimal
    charge: Decimal
    given: Decimal


@dataclass(frozen=True, slots=True)
class Settled:
    """One settlement: its moves, and what was invoiced for its net and still stands."""

    moves: tuple[FeeTransfer, ...]
    invoiced: Decimal = ZERO


@dataclass(slots=True)
class FeeBalance:
    """What came in for an item and what was taken out again."""

    received: Decimal = ZERO
    taken: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        return EXACT.subtract(self.received, self.taken)


def fee_balances(invoiced: Mapping[str, Decimal], settled: Iterable[Settled]) -> dict[str, FeeBalance]:
    """What stands behind each item after `settled`, in order, given what was `invoiced` for it beside them. Pure.

    Only what stands behind an item can be moved on or given back; what was credited beyond that, as a change of
    quantity may, is worth nothing afterwards. The sum of all that is left is what was invoiced less what was given.
    """
    found: dict[str, FeeBalance] = defaultdict(FeeBalance)
    for item_id, amount in invoiced.items():
        found[item_id].received = amount
    for settlement in settled:
        pool = settlement.invoiced
        for move in settlement.moves:
            if move.before is not None:
                taken = min(move.credit, max(found[move.before].left, ZERO))
                found[move.before].taken = EXACT.add(found[move.before].taken, taken)
                pool = EXACT.add(pool, taken)
            pool = EXACT.subtract(pool, move.given)
        for move in settlement.moves:
            if move.after is not None:
                put = max(min(move.charge, pool), ZERO)
                found[move.after].received = EXACT.add(found[move.after].received, put)
                pool = EXACT.subtract(pool, put)
    return found


async def served(
    session: AsyncSession, snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange]
) -> dict[str, Served]:
    """What is known of the fees that change, by the id of the item before, or of the one after if there is none."""
    wanted = {
        item.id: change.at for change in changes for item in [fee_of(change.before) or fee_of(change.after)] if item
    }
    if not wanted:
        return {}
    at = max(wanted.values())
    spans = _spans(snapshot, [*snapshot.items, *(change.after for change in changes if change.after)], wanted, at)
    lines = await _lines(session, snapshot, spans)
    settled, of_settlements, added, added_service = await _settlements(session, snapshot, spans, lines)
    finalized = [line for line in lines if not line.is_draft]
    invoiced: dict[str, list[Decimal]] = defaultdict(list)
    for line in finalized:
        if line.invoice_id not in of_settlements:
            invoiced[line.item_id].append(line.net)
    found = fee_balances({item_id: exact_sum(amounts) for item_id, amounts in invoiced.items()}, settled)
    discount_shares = await discount_shares_of(
        session, {line.id: line.invoice_id for line in finalized if line.item_id in wanted}
    )
    by_hand = await taken_by_hand(session, [line.id for line in finalized if line.item_id in wanted])
    waits = await _draft_waits(session, snapshot)
    ended = {move.before for settlement in settled for move in settlement.moves}
    known = {}
    for item_id in wanted:
        if item_id not in spans:
            continue
        family = _predecessors(snapshot, item_id)
        drafted = any(line.is_draft and line.item_id in family for line in lines)
        billed = [line for line in finalized if line.item_id in family]
        balance = found.get(item_id, FeeBalance())
        open_now = waits and spans[item_id].start >= snapshot.full_period.start
        own = [line for line in finalized if line.item_id == item_id]
        beside = [line for line in own if line.invoice_id not in of_settlements]
        # what an earlier version was paid for beyond this one's charge was credited with it
        paid_until = [line.paid_until for line in own] + ([added[item_id]] if item_id in added else [])
        length = sum((line.service for line in beside), added_service.get(item_id, NO_TIME))
        known[item_id] = Served(
            balance.received,
            exact_sum([balance.taken, *(by_hand.get(line.id, ZERO) for line in own)]),
            only_drafted=not billed and (drafted or open_now),
            paid_service=max(paid_until, default=None),
            paid_length=length,
            discounts=tuple(share for line in own for share in discount_shares.get(line.id, ())),
            is_settled=item_id in ended,
        )
    return known


def _spans(
    snapshot: SubscriptionSnapshot, items: Iterable[LineItemSnapshot], moments: Mapping[str, datetime], at: datetime
) -> dict[str, ServiceSpan]:
    """The service period of each fee that holds the moment of its change, or `at` for one that does not change."""
    found: dict[str, ServiceSpan] = {}
    for item in items:
        span = None if fee_of(item) is None else service_span(snapshot, item, moments.get(item.id, at))
        if span is not None:
            found[item.id] = span
    return found


@dataclass(frozen=True, slots=True)
class _InvoicedFee:
    """A fee on an invoice. `net` is what it charges: less discounts, plus what an earlier credit paid of it.
    It pays for `service`, up to `paid_until` in its service period."""

    id: str
    item_id: str
    invoice_id: str
    is_draft: bool
    net: Decimal
    service: timedelta
    paid_until: timedelta


async def _lines(
    session: AsyncSession, snapshot: SubscriptionSnapshot, spans: Mapping[str, ServiceSpan]
) -> list[_InvoicedFee]:
    """The lines of the subscription's fees, on drafts and issued invoices, that pay for the periods of `spans`."""
    line = InvoiceLineItem
    rows = await session.execute(
        select(line, Invoice.invoice_status, Invoice.invoice_type)
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            in_array(line.subscription_line_item_id, list(spans)),
            line.status == Status.PUBLISHED,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_((InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED)) | paid_by_credit(),
        )
        .order_by(line.id)
    )
    found = []
    for row, status, kind in rows:
        item_id = row.subscription_line_item_id or ""
        assert row.period_start is not None
        span = spans[item_id]
        if span.window.contains(row.period_start):
            # a settlement's own lines say what credits paid of them too, but there the settlement tells it
            credit = ZERO if kind is InvoiceType.ONE_OFF else row.proration_credit
            net = EXACT.add(EXACT.subtract(row.charge_amount, row.charge_discount), credit)
            service = service_of(row.whole_seconds or ZERO)
            paid_until = span.consumed(row.period_start) + service
            is_draft = status is InvoiceStatus.DRAFT
            found.append(_InvoicedFee(row.id, item_id, row.invoice_id, is_draft, net, service, paid_until))
    return found


async def _settlements(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    spans: Mapping[str, ServiceSpan],
    lines: Sequence[_InvoicedFee],
) -> tuple[list[Settled], set[str], dict[str, timedelta], dict[str, timedelta]]:
    """The settlements in the service periods of `spans`, oldest first, and their invoices; how far into its period each
    item's charge in them pays, and for how much service time."""
    entry = ProrationSettlement
    rows = (
        await session.scalars(
            select(entry)
            .where(
                in_array(entry.subscription_line_item_id, [item.id for item in snapshot.items]),
                entry.status == Status.PUBLISHED,
                entry.window_start.in_({span.start for span in spans.values()}),
            )
            .order_by(entry.created_at, entry.id)
        )
    ).all()
    successors = {(item.replaces_id, item.start): item.id for item in snapshot.items if item.replaces_id is not None}
    groups: dict[str, list[FeeTransfer]] = defaultdict(list)
    invoices: dict[str, str] = {}
    paid_until: dict[str, timedelta] = {}
    service: dict[str, timedelta] = defaultdict(lambda: NO_TIME)
    for row in rows:
        span = spans.get(row.subscription_line_item_id)
        if span is not None and row.window_start != span.start:
            continue
        added = row.action == ItemAction.ADD.value
        after = (
            row.subscription_line_item_id
            if added
            else successors.get((row.subscription_line_item_id, row.effective_at))
        )
        before = None if added else row.subscription_line_item_id
        if after is not None and after in spans:
            service[after] += service_of(row.charged_seconds)
            paid_until[after] = spans[after].consumed(row.effective_at) + service_of(row.charged_seconds)
        charge = EXACT.subtract(row.charge, row.discount)
        groups[row.settlement_key].append(FeeTransfer(before, after, row.credit, charge, row.credited_to_payer))
        if row.invoice_id is not None:
            invoices[row.settlement_key] = row.invoice_id
    standing: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        if not line.is_draft:
            standing[line.invoice_id] = EXACT.add(standing[line.invoice_id], line.net)
    settled = [
        Settled(tuple(moves), standing[invoices[key]] if key in invoices else ZERO) for key, moves in groups.items()
    ]
    return settled, set(invoices.values()), paid_until, service


async def discount_shares_of(session: AsyncSession, lines: Mapping[str, str]) -> dict[str, list[DiscountShare]]:
    """What coupons with budgets, and those for one invoice, took off lines, by line; `lines` are their ids, with those
    of their invoices."""
    invoices = (
        await session.scalars(
            select(Invoice).where(
                in_array(Invoice.id, set(lines.values())),
                func.jsonb_array_length(Invoice.coupon_terms) > 0,
            )
        )
    ).all()
    found: dict[str, list[DiscountShare]] = defaultdict(list)
    beside = await lines_of(session, [invoice.id for invoice in invoices])
    for invoice in invoices:
        terms = coupons_on(invoice.coupon_terms)
        followed = {
            position: term.coupon_association_id
            for position, term in enumerate(terms)
            if term.coupon_association_id and (term.budgets is not None or term.cadence == CouponCadence.ONCE.value)
        }
        if not followed:
            continue
        totals = charge_totals(invoice, beside[invoice.id])
        for applied in totals.coupon_applications:
            association_id = followed.get(applied.position)
            if association_id is None:
                continue
            for line_id, amount in applied.shares:
                if line_id in lines:
                    found[line_id].append(DiscountShare(association_id, applied.period_start, amount))
    return found


async def _draft_waits(session: AsyncSession, snapshot: SubscriptionSnapshot) -> bool:
    """Whether the invoice that charges the open period's fees in advance is still a draft: begun, perhaps not computed
    yet, and to be computed again before it is final."""
    start = snapshot.full_period.start
    return bool(
        await session.scalar(
            select(
                exists().where(
                    Invoice.subscription_id == snapshot.billed_with,
                    Invoice.status == Status.PUBLISHED,
                    Invoice.invoice_status == InvoiceStatus.DRAFT,
                    Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
                    Invoice.derived_key,
                    Invoice.is_manually_edited.is_(False),
                    (Invoice.period_end == start) | (Invoice.period_start == start),
                )
            )
        )
    )


def _predecessors(snapshot: SubscriptionSnapshot, item_id: str) -> set[str]:
    """The item and all that it succeeds."""
    found: set[str] = set()
    current: str | None = item_id
    while current is not None and current not in found:
        found.add(current)
        item = snapshot.item(current)
        current = None if item is None else item.replaces_id
    return found
