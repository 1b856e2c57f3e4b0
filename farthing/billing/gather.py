"""What must be known to bill hundreds of subscriptions: the same number of statements for many as for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ARRAY, String, all_, cast, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.bill import Charged, Known, Work, questions
from farthing.billing.charges import InvoicedWindow, Terms
from farthing.billing.commitments import span_of
from farthing.billing.usage_charges import Measured, UsageRange
from farthing.calendar.period import Period
from farthing.catalogue.discounts.attaching import AttachedCoupon, attached_during
from farthing.catalogue.discounts.tables import CouponCadence
from farthing.catalogue.products import tables as products
from farthing.catalogue.taxes.choosing import auto_apply_associations_of
from farthing.catalogue.taxes.tables import TaxEntityType
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO
from farthing.events.meters import meter_of
from farthing.events.usage_query import buckets_of, usage_of
from farthing.events.usage_statement import UsageQuery
from farthing.invoices.standing import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import CouponApplication, Invoice, InvoiceLineItem
from farthing.invoices.terms import CouponTerm, TaxTerm
from farthing.metering.meter import Meter
from farthing.metering.model import Usage
from farthing.storage.postgres import scope_of
from farthing.storage.rows import not_found
from farthing.subscriptions import loading
from farthing.subscriptions.snapshot import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.words import Occasion

COUNTING = (InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED)


@dataclass(frozen=True, slots=True)
class Asked:
    """An invoice to be calculated. `invoice_id` is its own, whose lines are no obstacle; None for a preview.

    `snapshot` stands in for what is stored, as a preview of a change needs.
    """

    subscription_id: str
    occasion: Occasion
    period: Period
    invoice_id: str | None = None
    scale_arrears: bool = False
    opening_credit: Decimal = ZERO
    repeats: bool = False
    snapshot: SubscriptionSnapshot | None = None


@dataclass(slots=True)
class Gathered:
    """Everything one invoice is calculated from."""

    work: Work
    known: Known
    coupons: list[CouponTerm] = field(default_factory=list)
    child_coupons: dict[str, list[CouponTerm]] = field(default_factory=dict)
    """Coupons of grouped children, which discount the child's own lines only; by subscription."""
    taxes: list[TaxTerm] = field(default_factory=list)


async def gather(session: AsyncSession, asked: Sequence[Asked], now: datetime) -> list[Gathered]:
    """What is needed to calculate invoices of different subscriptions, in the order asked for.

    Statements: those of `loading.load`, then meters, invoiced lines, threshold lines and commitments' priors where
    there are any, coupons, taxes, and one for usage per kind of meter. Raises NotFound for an unknown subscription.
    """
    ids = [one.subscription_id for one in asked]
    assert len(set(ids)) == len(ids), "one invoice of a subscription at a time: each counts what is on the one before"
    if not asked:
        return []
    works = await _works(session, asked)
    meters = await _meters(session, works)
    invoiced = await _invoiced(session, asked, works)
    found = [
        Gathered(work, Known(now=now, meters=meters, invoiced=invoiced.get(one.subscription_id, ())))
        for one, work in zip(asked, works, strict=True)
    ]
    await _thresholds(session, asked, found)
    await _priors(session, asked, found)
    await _usage(session, found)
    await _coupons(session, asked, found)
    await _taxes(session, found)
    return found


async def _works(session: AsyncSession, asked: Sequence[Asked]) -> list[Work]:
    stored = [one.subscription_id for one in asked if one.snapshot is None]
    since = min(one.period.start for one in asked)
    loaded = {one.id: one for one in await loading.load(session, stored, since=since)} if stored else {}
    works = []
    for one in asked:
        snapshot = one.snapshot or loaded.get(one.subscription_id)
        if snapshot is None:
            raise not_found(Subscription, one.subscription_id)
        works.append(
            Work(
                snapshot,
                one.occasion,
                one.period,
                Terms(scale_arrears=one.scale_arrears),
                repeats=one.repeats,
                opening_credit=one.opening_credit,
            )
        )
    return works


def _members(works: Iterable[Work]) -> Iterable[SubscriptionSnapshot]:
    return (member for work in works for member in work.members)


async def _meters(session: AsyncSession, works: Sequence[Work]) -> Mapping[str, Meter]:
    ids = {item.meter_id for member in _members(works) for item in member.items if item.meter_id is not None}
    if not ids:
        return {}
    rows = await session.scalars(select(products.Meter).where(products.Meter.id.in_(ids)))
    return {row.id: meter_of(row) for row in rows}


async def _invoiced(
    session: AsyncSession, asked: Sequence[Asked], works: Sequence[Work]
) -> dict[str, list[InvoicedWindow]]:
    """What other invoices charge already, by the subscription whose invoice is being calculated."""
    owner = {item.id: work.snapshot.id for work in works for member in work.members for item in member.items}
    if not owner:
        return {}
    own = {one.invoice_id for one in asked if one.invoice_id is not None}
    # item by item through the index, and each line's invoice by its key: while a run fills the tables, estimates of
    # how many rows many items have are too far off to leave the choice open (OFFSET 0 closes it)
    items = func.unnest(cast(list(owner), ARRAY(String))).table_valued("id").render_derived(name="items")
    line = (
        select(InvoiceLineItem.invoice_id, InvoiceLineItem.period_start, InvoiceLineItem.period_end)
        .where(
            InvoiceLineItem.environment_id == scope_of(session).environment_id,
            InvoiceLineItem.subscription_line_item_id == items.c.id,
            InvoiceLineItem.status == literal_column("'published'"),  # a constant, so that the partial index serves
            InvoiceLineItem.period_end >= min(one.period.start for one in asked),
            InvoiceLineItem.invoice_id != all_(cast(list(own), ARRAY(String))),
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
            Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
            Invoice.billing_reason != BillingReason.AUTO_INVOICE_THRESHOLD,
        )
        .offset(0)
        .lateral("counting")
    )
    rows = await session.execute(
        select(items.c.id, line.c.period_start, line.c.period_end)
        .select_from(items)
        .join(line, true())
        .join(counting, true())
    )
    found: dict[str, list[InvoicedWindow]] = defaultdict(list)
    for item_id, start, end in rows:
        assert item_id is not None and start is not None and end is not None, "billing names item and window"  # noqa: PT018
        found[owner[item_id]].append(InvoicedWindow(item_id, start, end))
    return found


async def _thresholds(session: AsyncSession, asked: Sequence[Asked], found: Sequence[Gathered]) -> None:
    """Where threshold invoices have cut a period: when it really began, and what they have charged."""
    ids = [one.work.snapshot.id for one in found if one.work.snapshot.threshold]
    if not ids:
        return
    own = {one.invoice_id for one in asked if one.invoice_id is not None}
    line = InvoiceLineItem
    rows = await session.execute(
        select(
            Invoice.subscription_id,
            Invoice.period_start,
            Invoice.period_end,
            line.subscription_line_item_id,
            line.amount,
            line.quantity,
            line.raw_usage,
            line.rating["kind"].astext,
        )
        .join(line, line.invoice_id == Invoice.id)
        .where(
            Invoice.subscription_id.in_(ids),
            Invoice.billing_reason == BillingReason.AUTO_INVOICE_THRESHOLD,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(COUNTING),
            Invoice.period_end >= min(one.work.period.start - one.work.period.duration for one in found),
            Invoice.id.not_in(own),
            line.status == Status.PUBLISHED,
        )
        .order_by(Invoice.period_end.desc())
    )
    cuts: dict[str, dict[datetime, list[tuple[datetime, tuple[str, str, str], Charged]]]] = defaultdict(dict)
    for subscription_id, start, end, item_id, amount, quantity, raw, kind in rows:
        key = (subscription_id, item_id or "", kind or "")
        charged = Charged(amount, quantity, raw or ZERO)
        cuts[subscription_id].setdefault(end, []).append((start, key, charged))
    for one in found:
        by_end = cuts.get(one.work.snapshot.id, {})
        since, charged_before = one.work.period.start, dict[tuple[str, str, str], Charged]()
        while since in by_end:
            for _, key, charged in by_end[since]:
                had = charged_before.get(key, Charged(ZERO, ZERO, ZERO))
                charged_before[key] = Charged(
                    EXACT.add(had.amount, charged.amount),
                    EXACT.add(had.quantity, charged.quantity),
                    EXACT.add(had.raw_usage, charged.raw_usage),
                )
            since = by_end[since][0][0]
        if since < one.work.period.start:
            one.work = replace(one.work, terms=replace(one.work.terms, since=since))
            one.known = replace(one.known, charged={} if one.work.repeats else charged_before)


async def _priors(session: AsyncSession, asked: Sequence[Asked], found: Sequence[Gathered]) -> None:
    """What the commitments that run over several periods have used before."""
    windows: dict[str, tuple[Gathered, Period]] = {}
    for one in found:
        for member in one.work.members:
            durations = {item.commitment.duration for item in member.items if item.commitment is not None}
            if member.commitment is not None:
                durations.add(member.commitment.duration)
            spans = [span_of(member, duration, one.work.logical) for duration in durations]
            starts = [span.window.start for span in spans if span is not None]
            if starts and min(starts) < one.work.logical.start:
                windows[member.id] = (one, Period(min(starts), one.work.logical.start))
    if not windows:
        return
    own = {one.invoice_id for one in asked if one.invoice_id is not None}
    line = InvoiceLineItem
    rows = await session.execute(
        select(
            line.subscription_id,
            line.subscription_line_item_id,
            line.period_start,
            line.rating["base"].astext,
        )
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            Invoice.subscription_id.in_({one.work.snapshot.id for one, _ in windows.values()}),
            line.subscription_id.in_(list(windows)),
            line.status == Status.PUBLISHED,
            line.rating["base"].astext.is_not(None),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_((*COUNTING, InvoiceStatus.SKIPPED)),
            Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
            Invoice.billing_reason != BillingReason.AUTO_INVOICE_THRESHOLD,
            Invoice.id.not_in(own),
        )
    )
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for subscription_id, item_id, start, base in rows:
        one, window = windows[subscription_id]
        if window.contains(start):
            for key in filter(None, (subscription_id, item_id)):
                prior = sums[one.work.snapshot.id]
                prior[key] = EXACT.add(prior[key], Decimal(base))
    for one in found:
        if one.work.snapshot.id in sums:
            one.known = replace(one.known, prior=dict(sums[one.work.snapshot.id]))


async def _usage(session: AsyncSession, found: Sequence[Gathered]) -> None:
    asked = {question: None for one in found for question in questions(one.work, one.known)}
    if not asked:
        return
    meters = {meter.id: meter for one in found for meter in one.known.meters.values()}
    answers = await measured(session, list(asked), meters)
    for one in found:
        one.known = replace(one.known, answers=answers)


async def measured(
    session: AsyncSession, ranges: Sequence[UsageRange], meters: Mapping[str, Meter]
) -> dict[UsageRange, Measured]:
    """The answer to each question; one statement per kind of meter, however many there are."""
    bucketed = [one for one in ranges if meters[one.meter_id].aggregation.bucket_size is not None]
    plain = [one for one in ranges if meters[one.meter_id].aggregation.bucket_size is None]
    answers: dict[UsageRange, Measured] = {}
    if plain:
        values = await usage_of(session, [_query(one, meters) for one in plain])
        answers = {one: Measured(value) for one, value in zip(plain, values, strict=True)}
    if bucketed:
        cuts = await buckets_of(session, [_query(one, meters) for one in bucketed])
        for one, buckets in zip(bucketed, cuts, strict=True):
            answers[one] = Measured(Usage(ZERO, sum(bucket.event_count for bucket in buckets)), tuple(buckets))
    return answers


def _query(one: UsageRange, meters: Mapping[str, Meter]) -> UsageQuery:
    return UsageQuery(meters[one.meter_id], one.start, one.end, one.customers, zone=one.zone, month_day=one.month_day)


async def _coupons(session: AsyncSession, asked: Sequence[Asked], found: Sequence[Gathered]) -> None:
    periods = {member.id: one.work.period for one in found for member in one.work.members}
    attached = await attached_during(session, periods)
    once = [
        coupon.association.id
        for coupons in attached.values()
        for coupon in coupons
        if coupon.coupon.cadence is CouponCadence.ONCE
    ]
    used = await _used_elsewhere(session, asked, once) if once else set()
    for one in found:
        for member in one.work.members:
            terms = [_term(coupon) for coupon in attached[member.id] if coupon.association.id not in used]
            on_lines = [term for term in terms if term.target is not None]
            # coupons of single lines come first, whoever's they are; those of a child stay with its own lines
            one.coupons = on_lines + one.coupons
            whole = [term for term in terms if term.target is None]
            if member is one.work.snapshot:
                one.coupons += whole
            elif whole:
                one.child_coupons[member.id] = whole


def _term(attached: AttachedCoupon) -> CouponTerm:
    return CouponTerm.of(attached.coupon, attached.association.subscription_line_item_id, attached.association.id)


async def _used_elsewhere(session: AsyncSession, asked: Sequence[Asked], association_ids: Sequence[str]) -> set[str]:
    """Associations that have discounted another invoice that is not void."""
    own = {one.invoice_id for one in asked if one.invoice_id is not None}
    rows = await session.scalars(
        select(CouponApplication.coupon_association_id)
        .join(Invoice, Invoice.id == CouponApplication.invoice_id)
        .where(
            CouponApplication.coupon_association_id.in_(association_ids),
            CouponApplication.status == Status.PUBLISHED,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status != InvoiceStatus.VOIDED,
            Invoice.id.not_in(own),
        )
    )
    return {id for id in rows if id is not None}  # noqa: A001 (a row's id)


async def _taxes(session: AsyncSession, found: Sequence[Gathered]) -> None:
    entities = {one.work.snapshot.id: (one.work.snapshot.currency, one.work.period) for one in found}
    chosen = await auto_apply_associations_of(session, TaxEntityType.SUBSCRIPTION, dict(entities))
    for one in found:
        one.taxes = [TaxTerm.of(tax.rate, tax.association.id) for tax in chosen[one.work.snapshot.id]]
