"""What must be known to bill hundreds of subscriptions: the same number of statements for many as for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Select, String, all_, bindparam, cast, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import CalculationInput, Facts, plan_members, questions
from farthing.billing.calculation.charges import InvoicedWindow, ItemTerms
from farthing.billing.calculation.draft import DraftLine
from farthing.billing.calculation.progressive import Charged
from farthing.billing.calculation.service_time import service_of
from farthing.billing.calculation.unpaid_rest import CLOSING
from farthing.billing.calculation.usage_charges import Question
from farthing.billing.late_usage import detection
from farthing.billing.late_usage.charges import late_charges, late_line
from farthing.billing.late_usage.detection import RecheckableLine
from farthing.billing.late_usage.pending import pending_charges
from farthing.billing.late_usage.windows import with_windows, without_forgotten
from farthing.billing.measurement import measure_usage
from farthing.billing.periods import history
from farthing.billing.periods.coupons import SubscriptionCoupon, coupons_of
from farthing.billing.periods.history import COUNTING, ThresholdCut
from farthing.calendar.period import Period
from farthing.catalogue.products import tables as products
from farthing.catalogue.taxes.choosing import auto_apply_associations_of
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core.enums import LineKind, Status
from farthing.core.money import ZERO
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.event_store import store_of
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices.figures.conversion import billing_currencies
from farthing.invoices.figures.terms import TaxTerm
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_given_array, not_found
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """An invoice to be calculated. `invoice_id` is its own, whose lines are no obstacle; None for a preview.

    `snapshot` stands in for what is stored, as a preview of a change needs.
    """

    subscription_id: str
    occasion: InvoiceTrigger
    period: Period
    invoice_id: str | None = None
    scale_arrears: bool = False
    repeats: bool = False
    snapshot: SubscriptionSnapshot | None = None


@dataclass(slots=True)
class GatheredInput:
    """Everything one invoice is calculated from."""

    work: CalculationInput
    known: Facts
    coupons: list[SubscriptionCoupon] = field(default_factory=list)
    taxes: list[TaxTerm] = field(default_factory=list)
    former_members: list[SubscriptionSnapshot] = field(default_factory=list)
    """Children that were released since, of whose time with the subscription late usage is charged."""
    watermark: int | None = None
    """Up to where in the order of acceptance all events were there to be read; None where none were asked for."""


@dataclass(slots=True)
class _InvoicedElsewhere:
    """What other invoices charge of a subscription already: its charges, and apart from them what they charge as late
    usage, by the start of its window."""

    windows: list[InvoicedWindow] = field(default_factory=list)
    late: list[tuple[datetime, tuple[str, str, str], Charged]] = field(default_factory=list)


class GatheredParts(Enum):
    """What an invoice is calculated for: as it will be issued, what its usage comes to before tax, or its charges
    alone, before discounts."""

    INVOICE = "invoice"
    USAGE = "usage"
    CHARGES = "charges"


async def gather(
    session: AsyncSession,
    asked: Sequence[InvoiceRequest],
    now: datetime,
    parts: GatheredParts = GatheredParts.INVOICE,
) -> list[GatheredInput]:
    """What is needed to calculate invoices of different subscriptions, in the order asked for.

    Statements: those of `loading.load`, then meters, invoiced lines, threshold lines and commitments' priors where
    there are any, and one for usage per kind of meter; but for mere charges also coupons; for a whole invoice also
    taxes and the watermark; and those of `late_usage` where late usage is charged. Raises NotFound for an unknown
    subscription.
    """
    ids = [request.subscription_id for request in asked]
    assert len(set(ids)) == len(ids), "one invoice of a subscription at a time: each counts what is on the one before"
    if not asked:
        return []
    works = await _works(session, asked)
    own = {request.invoice_id for request in asked if request.invoice_id is not None}
    cuts = await history.threshold_cuts(session, works, own)
    if cuts:
        works = await _whole(session, asked, works, cuts)
    meters = await _meters(session, works)
    invoiced = await _invoiced(session, works, own)
    found = []
    for work in works:
        cut = cuts.get(work.snapshot.id)
        charged = {} if cut is None or work.repeats else cut.charged
        windows = invoiced[work.snapshot.id].windows
        found.append(GatheredInput(work, Facts(now, meters, invoiced=windows, charged=charged)))
    for invoice_input in found:
        _charged_as_late(invoice_input, invoiced[invoice_input.work.snapshot.id])
        invoice_input.known = replace(
            invoice_input.known, planned=plan_members(invoice_input.work, invoice_input.known)
        )
    is_whole = parts is GatheredParts.INVOICE
    mark = await store_of(session).usage.watermark(session) if is_whole and _asks_for_usage(found) else None
    await _usage(session, found, await _late(session, asked, with_corrections=is_whole), mark)
    late = {invoice_input.work.snapshot.id: invoice_input.known.late for invoice_input in found}
    priors = await history.earlier_charges(session, works, own, late)
    for invoice_input in found:
        prior = priors.get(invoice_input.work.snapshot.id, {})
        invoice_input.known = replace(invoice_input.known, prior=prior)
    if parts is not GatheredParts.CHARGES:
        await _coupons(session, asked, found)
    if is_whole:
        await _taxes(session, found)
    return found


async def _works(session: AsyncSession, asked: Sequence[InvoiceRequest]) -> list[CalculationInput]:
    stored = [request.subscription_id for request in asked if request.snapshot is None]
    since = min(request.period.start for request in asked)
    loaded = {snapshot.id: snapshot for snapshot in await loading.load(session, stored, since=since)} if stored else {}
    works = []
    for request in asked:
        snapshot = request.snapshot or loaded.get(request.subscription_id)
        if snapshot is None:
            raise not_found(Subscription, request.subscription_id)
        works.append(
            CalculationInput(
                snapshot,
                request.occasion,
                request.period,
                ItemTerms(scale_arrears=request.scale_arrears),
                repeats=request.repeats,
            )
        )
    return works


async def _whole(
    session: AsyncSession,
    asked: Sequence[InvoiceRequest],
    works: Sequence[CalculationInput],
    cuts: Mapping[str, ThresholdCut],
) -> list[CalculationInput]:
    """The works with the whole of each period that was cut, and with the line items that ended before the cut."""
    stored = [
        request.subscription_id for request in asked if request.snapshot is None and request.subscription_id in cuts
    ]
    since = min(cut.since for cut in cuts.values())
    loaded = {snapshot.id: snapshot for snapshot in await loading.load(session, stored, since=since)} if stored else {}
    return [
        replace(
            work,
            snapshot=loaded.get(work.snapshot.id, work.snapshot),
            terms=replace(work.terms, since=cuts[work.snapshot.id].since),
        )
        if work.snapshot.id in cuts
        else work
        for work in works
    ]


def _members(works: Iterable[CalculationInput]) -> Iterable[SubscriptionSnapshot]:
    return (member for work in works for member in work.members)


async def _meters(session: AsyncSession, works: Sequence[CalculationInput]) -> Mapping[str, Meter]:
    ids = {item.meter_id for member in _members(works) for item in member.items if item.meter_id is not None}
    if not ids:
        return {}
    rows = await session.scalars(_meters_by_ids(), {"ids": list(ids)})
    return {row.id: meter_of(row) for row in rows}


@cache
def _meters_by_ids() -> Select[products.MeterRow]:
    return select(products.MeterRow).where(in_given_array(products.MeterRow.id, "ids"))


async def _invoiced(
    session: AsyncSession, works: Sequence[CalculationInput], own: Collection[str]
) -> dict[str, _InvoicedElsewhere]:
    """What other invoices charge already, by the subscription whose invoice is being calculated."""
    found: dict[str, _InvoicedElsewhere] = defaultdict(_InvoicedElsewhere)
    owner = {item.id: work.snapshot.id for work in works for member in work.members for item in member.items}
    if not owner:
        return found
    values = {
        "environment": scope_of(session).environment_id,
        "item_ids": list(owner),
        "since": min(work.logical.start for work in works),
        "own": list(own),
    }
    rows = await session.execute(_charging_lines(), values)
    for item_id, subscription_id, start, end, kind, amount, quantity, raw, seconds in rows:
        assert item_id is not None and start is not None and end is not None, "billing names item and window"  # noqa: PT018
        if kind is LineKind.LATE_USAGE:
            key = (subscription_id, item_id, LineKind.USAGE.value)
            found[owner[item_id]].late.append((start, key, Charged(amount, quantity, raw or ZERO)))
        else:
            found[owner[item_id]].windows.append(InvoicedWindow(item_id, start, end, service_of(seconds or ZERO)))
    return found


@cache
def _charging_lines() -> Select[Any]:
    """Lines of invoices that count, apart from those in `own`, for `item_ids` of `environment` and for windows that end
    at `since` or later."""
    # item by item through the index, and each line's invoice by its key: while a run fills the tables, estimates of
    # how many rows many items have are too far off to leave the choice open (OFFSET 0 closes it)
    item_ids, own = bindparam("item_ids", type_=ARRAY(String)), bindparam("own", type_=ARRAY(String))
    items = func.unnest(cast(item_ids, ARRAY(String))).table_valued("id").render_derived(name="items")
    line = (
        select(
            InvoiceLineItem.invoice_id,
            InvoiceLineItem.subscription_id,
            InvoiceLineItem.period_start,
            InvoiceLineItem.period_end,
            InvoiceLineItem.charge_amount.label("amount"),
            InvoiceLineItem.quantity,
            InvoiceLineItem.raw_usage,
            InvoiceLineItem.kind,
            InvoiceLineItem.whole_seconds,
        )
        .where(
            InvoiceLineItem.environment_id == bindparam("environment"),
            InvoiceLineItem.subscription_line_item_id == items.c.id,
            InvoiceLineItem.status == literal_column("'published'"),  # a constant, so that the partial index serves
            InvoiceLineItem.period_end >= bindparam("since"),
            InvoiceLineItem.invoice_id != all_(cast(own, ARRAY(String))),
        )
        .offset(0)
        .lateral("line")
    )
    counting = (
        select(Invoice.id)
        .where(
            Invoice.id == line.c.invoice_id,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(COUNTING),
            # an ended subscription's late lines stand on an invoice of their own
            (Invoice.invoice_type == InvoiceType.SUBSCRIPTION) | (line.c.kind == LineKind.LATE_USAGE),
            # one cuts its period, the other charges nothing: a trial that ends early is paid for from then on
            Invoice.billing_reason.not_in(
                (BillingReason.AUTO_INVOICE_THRESHOLD, BillingReason.SUBSCRIPTION_TRIAL_START)
            ),
        )
        .offset(0)
        .lateral("counting")
    )
    what = (line.c[name] for name in ("subscription_id", "period_start", "period_end", "kind"))
    figures = (line.c[name] for name in ("amount", "quantity", "raw_usage", "whole_seconds"))
    return select(items.c.id, *what, *figures).select_from(items).join(line, true()).join(counting, true())


def _charged_as_late(invoice_input: GatheredInput, invoiced: _InvoicedElsewhere) -> None:
    """A period that is billed afresh does not charge again what later invoices have charged of it."""
    if invoice_input.work.repeats:
        return
    charged = dict(invoice_input.known.charged)
    for start, key, late in invoiced.late:
        if invoice_input.work.logical.contains(start):
            charged[key] = charged[key].plus(late) if key in charged else late
    if charged:
        invoice_input.known = replace(invoice_input.known, charged=charged)


async def _late(
    session: AsyncSession, asked: Sequence[InvoiceRequest], *, with_corrections: bool
) -> list[RecheckableLine]:
    """What finished invoices of the subscriptions have to be measured again for, where this one closes a period:
    all of it if late usage is charged on the next invoice, and else what corrections have left to it.

    Rule: docs/rules/late-usage.md#policies
    """
    ends = {request.subscription_id: request.period.end for request in asked if request.occasion in CLOSING}
    if not ends:
        return []
    own = [request.invoice_id for request in asked if request.invoice_id is not None]
    past: list[str] = []
    if (await read(session, InvoiceConfig)).late_usage_policy == "next_invoice":
        past = await detection.finished_before(session, ends)
    pending = await pending_charges(session, ends, own) if with_corrections else {}
    lines = await detection.recheckable_lines(session, sorted({*past, *pending.values()}), own)
    lines = await with_windows(session, lines, own)
    of_policy = set(past)
    # what a correction left of a pool is the pool's, whichever of its lines it falls to by now
    left = {line.pool for line in lines if line.pool is not None and line.line.id in pending}
    # and what came late for a longer commitment is, on whichever of its invoices
    pools = {line.pool for line in lines if line.pool is not None and line.line.invoice_id in of_policy}
    return [
        replace(line, is_left_by_correction=is_left)
        for line in lines
        if (is_left := line.line.id in pending or line.pool in left)
        or line.line.invoice_id in of_policy
        or line.pool in pools
    ]


def _asks_for_usage(found: Sequence[GatheredInput]) -> bool:
    return any(question for invoice_input in found for question in questions(invoice_input.known.planned))


async def _usage(
    session: AsyncSession, found: Sequence[GatheredInput], watched: Sequence[RecheckableLine], mark: int | None
) -> None:
    """Measure everything that was used, and list what of it came late.

    `mark` was read before any usage is, so that all events up to it are in what is measured.
    """
    asked: dict[Question, None] = {}
    for invoice_input in found:
        own = dict.fromkeys(questions(invoice_input.known.planned))
        invoice_input.watermark = mark if own else None
        asked |= own
    for line in watched:
        asked |= dict.fromkeys(line.ranges())
    if not asked:
        return
    meters = {meter.id: meter for invoice_input in found for meter in invoice_input.known.meters.values()}
    meters |= {line.plan.meter.id: line.plan.meter for line in watched}
    answers = await measure_usage(session, list(asked), meters)
    watched = await without_forgotten(session, watched, answers)
    late: dict[str, list[DraftLine]] = defaultdict(list)
    charged: dict[str, dict[str, SubscriptionSnapshot]] = defaultdict(dict)
    for line, charge in zip(watched, late_charges(watched, answers, found[0].known.now), strict=True):
        made = late_line(line, charge)
        if made is not None:
            late[line.line.billed].append(made)
            charged[line.line.billed][line.member.id] = line.member
    for invoice_input in found:
        work = invoice_input.work
        of_late = charged[work.snapshot.id]
        invoice_input.former_members = [
            member for member in of_late.values() if member.id not in {current.id for current in work.members}
        ]
        invoice_input.known = replace(invoice_input.known, answers=answers, late=late[invoice_input.work.snapshot.id])


async def _coupons(session: AsyncSession, asked: Sequence[InvoiceRequest], found: Sequence[GatheredInput]) -> None:
    own = [request.invoice_id for request in asked if request.invoice_id is not None]
    members = {
        invoice_input.work.snapshot.id: [*invoice_input.work.members, *invoice_input.former_members]
        for invoice_input in found
    }
    coupons = await coupons_of(session, [member for theirs in members.values() for member in theirs], own)
    for invoice_input in found:
        theirs = members[invoice_input.work.snapshot.id]
        invoice_input.coupons = [coupon for member in theirs for coupon in coupons.get(member.id, ())]


async def _taxes(session: AsyncSession, found: Sequence[GatheredInput]) -> None:
    snapshots = [invoice_input.work.snapshot for invoice_input in found]
    billed_in = await billing_currencies(session, {snapshot.payer_id for snapshot in snapshots})
    currencies = {snapshot.id: billed_in.get(snapshot.payer_id, snapshot.currency) for snapshot in snapshots}
    chosen = await auto_apply_associations_of(session, TaxEntityType.SUBSCRIPTION, currencies)
    for invoice_input in found:
        invoice_input.taxes = [TaxTerm.of(tax.rate, tax.association) for tax in chosen[invoice_input.work.snapshot.id]]
