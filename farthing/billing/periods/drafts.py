"""Writing what was billed: drafts begun once per period, computed as often as need be, hundreds in a transaction."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import bill
from farthing.billing.calculation.draft import DraftLine, InvoiceDraft
from farthing.billing.calculation.reference_date import reference_date_of
from farthing.billing.periods.coupons import terms_on
from farthing.billing.periods.inputs import GatheredInput, InvoiceRequest, gather
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.clock import instant
from farthing.core.enums import PriceType, Status
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO
from farthing.events.upkeep.backfill import unfilled
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.figures.computation import calculate, is_exempt, reductions, write_figures
from farthing.invoices.figures.settlement import derive
from farthing.invoices.figures.terms import (
    OpeningCredit,
    opening_credit_by_rates,
    opening_credit_columns,
    stored,
)
from farthing.invoices.lifecycle import drafts, transitions
from farthing.invoices.lifecycle.due_dates import derive_due_date, due_terms_of
from farthing.invoices.line_tables import CouponApplicationRow, InvoiceLineItem, TaxAppliedRow
from farthing.invoices.parts import InvoiceParts, lines_of, payers_of, read_reductions
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of
from farthing.storage.queries.bulk import insert_all, is_new, update_all
from farthing.storage.queries.changes import changed_attributes
from farthing.storage.queries.rows import in_array, row_of, set_changed
from farthing.subscriptions.enums import CollectionMethod, InvoiceTrigger
from farthing.subscriptions.snapshot.values import LineItemSnapshot
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, slots=True)
class WantedDraft:
    """A draft to begin for a subscription whose row is locked."""

    subscription: Subscription
    occasion: InvoiceTrigger
    period: Period
    scale_arrears: bool = False
    opening_credit: Sequence[OpeningCredit] = ()
    reference_date: datetime | None = None
    """That of the invoice which this one replaces; None where the occasion decides."""


async def begin(session: AsyncSession, wanted: Sequence[WantedDraft]) -> list[Invoice]:
    """The drafts, each begun now or found as somebody began it before; those finalized already are left out.

    One statement writes them all; only when one is in the way are they begun one by one.
    """
    if not wanted:
        return []
    rows = [new_row(session, wanted_draft) for wanted_draft in wanted]
    try:
        async with session.begin_nested():
            session.add_all(rows)
    except IntegrityError:
        pass
    else:
        return rows
    begun = []
    for wanted_draft, row in zip(wanted, rows, strict=True):
        fresh = _copy(row)
        try:
            invoice = await drafts.begin(session, fresh)
        except AlreadyExists:
            wanted_draft.subscription.invoices_begun -= 1
            continue
        if invoice is not fresh:
            wanted_draft.subscription.invoices_begun -= 1
        begun.append(invoice)
    return begun


def new_row(session: AsyncSession, wanted: WantedDraft) -> Invoice:
    """An empty draft, not in the session yet; takes the subscription's next sequence number."""
    subscription, period = wanted.subscription, wanted.period
    payer = subscription.invoicing_customer_id or subscription.customer_id
    subscription.invoices_begun += 1
    only_sent = subscription.collection_method is CollectionMethod.SEND_INVOICE
    return row_of(
        Invoice,
        id=new_id(Kind.INVOICE),
        customer_id=payer,
        subscription_id=subscription.id,
        subscription_customer_id=subscription.customer_id if subscription.customer_id != payer else None,
        currency=subscription.currency,
        invoice_type=InvoiceType.SUBSCRIPTION,
        invoice_status=InvoiceStatus.DRAFT,
        billing_reason=BillingReason(wanted.occasion.value),
        billing_period=subscription.billing_period.value,
        billing_sequence=subscription.invoices_begun,
        period_start=period.start,
        period_end=period.end,
        idempotency_key=invoice_key(session, subscription, wanted.occasion, period),
        derived_key=True,
        reference_date=wanted.reference_date or reference_date_of(wanted.occasion, period),
        derives_due_date=True,
        settles_at_zero=not (wanted.occasion is InvoiceTrigger.TRIAL_START and only_sent),
        scale_arrears=wanted.scale_arrears,
        **opening_credit_columns(wanted.opening_credit),
        meta={},
        # said here, because figures are worked out before the row is written
        payment_status=PaymentStatus.PENDING,
        adjustment_amount=ZERO,
        amount_paid=ZERO,
        refunded_amount=ZERO,
        is_manually_edited=False,
        tax_exempt=False,
        latest_attempt_failed=False,
        auto_completed=False,
        version=1,
    )


def _copy(row: Invoice) -> Invoice:
    columns = [column.key for column in Invoice.__mapper__.column_attrs if column.key != "owner_id"]
    return Invoice(**{name: row.__dict__[name] for name in columns if name in row.__dict__})


def invoice_key(session: AsyncSession, subscription: Subscription, occasion: InvoiceTrigger, period: Period) -> str:
    """What makes the invoice of a period the same one however often it is asked for.

    Rule: docs/rules/billing.md#one-invoice-per-period
    """
    scope = scope_of(session)
    parts = (
        scope.tenant_id,
        scope.environment_id,
        subscription.customer_id,
        subscription.id,
        occasion.value,
        instant(period.start),
        instant(period.end),
    )
    return f"subscription_invoice-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:48]}"


def invoice_request_of(invoice: Invoice) -> InvoiceRequest:
    """How a stored draft is calculated."""
    assert invoice.subscription_id is not None
    assert invoice.period_start is not None
    assert invoice.period_end is not None
    assert invoice.billing_reason is not None
    return InvoiceRequest(
        invoice.subscription_id,
        InvoiceTrigger(invoice.billing_reason.value),
        Period(invoice.period_start, invoice.period_end),
        invoice.id,
        scale_arrears=invoice.scale_arrears,
    )


class AnnouncedDrafts(Enum):
    """Of which computed drafts an event is recorded."""

    EVERY = "every"
    COMPUTED_BEFORE = "computed before"
    """A new one becomes final in the same transaction, which announces it."""
    NONE = "none"
    """What follows announces them, or nothing of them lasts."""


async def compute_all(
    session: AsyncSession,
    invoices: Sequence[Invoice],
    now: datetime,
    *,
    announced: AnnouncedDrafts = AnnouncedDrafts.EVERY,
    flush: bool = True,
) -> dict[str, InvoiceParts]:
    """Compute drafts and skipped invoices of subscriptions, locked or new; those edited by hand are left alone.

    Several of one subscription are computed in the order of their periods, because later ones count what earlier ones
    charge. One that comes to nothing is skipped, unless it opens a trial. Without `flush` all that changed waits in the
    session, for a caller that goes on to change the same rows. Raises InvalidOperation while a meter that they charge
    by does not count all stored events yet.
    """
    parts: dict[str, InvoiceParts] = {}
    for layer in layers(invoices):
        gathered = await gather(session, [invoice_request_of(invoice) for invoice in layer], now)
        await _require_filled(session, gathered)
        parts |= await write(session, layer, gathered, now, announced=announced, flush=flush)
    return parts


def recomputable() -> tuple[ColumnElement[bool], ...]:
    """Which drafts may be computed again: those of subscriptions that were computed once, not edited by hand, and
    wait for no checkout."""
    return (
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.derived_key.is_(True),
        Invoice.last_computed_at.is_not(None),
        Invoice.is_manually_edited.is_(False),
        Invoice.awaits_checkout.is_(False),
    )


async def recompute(session: AsyncSession, drafts: Sequence[Invoice], now: datetime) -> None:
    """Compute locked drafts again. Their time for corrections goes on: a draft that is computed every day must become
    final some day.

    Rule: docs/rules/billing.md#recomputing-drafts
    """
    before = {draft.id: draft.last_computed_at for draft in drafts}
    await compute_all(session, drafts, now)
    for draft in drafts:
        draft.last_computed_at = before[draft.id]


async def _require_filled(session: AsyncSession, gathered: Sequence[GatheredInput]) -> None:
    """Refuse to charge for usage that is not all there.

    Rule: docs/rules/metering.md#new-meters-and-wider-filters
    """
    meters = {
        meter_id
        for invoice_input in gathered
        if invoice_input.watermark is not None
        for meter_id in invoice_input.known.meters
    }
    waiting = await unfilled(session, meters) if meters else frozenset()
    if waiting:
        raise InvalidOperation(
            "A new meter does not count all stored events yet; try again in a moment",
            {"meter_ids": sorted(waiting)},
            retry_after_seconds=5,
        )


def layers(invoices: Sequence[Invoice]) -> list[list[Invoice]]:
    """The first invoice of each subscription, then the second of each, and so on."""
    layers: list[list[Invoice]] = []
    depth: dict[str, int] = defaultdict(int)
    for invoice in sorted(invoices, key=lambda invoice: (invoice.period_end, invoice.id)):
        if invoice.is_manually_edited:
            continue
        level = depth[invoice.subscription_id or ""]
        depth[invoice.subscription_id or ""] += 1
        if level == len(layers):
            layers.append([])
        layers[level].append(invoice)
    return layers


async def write(
    session: AsyncSession,
    invoices: Sequence[Invoice],
    gathered: Sequence[GatheredInput],
    now: datetime,
    *,
    announced: AnnouncedDrafts = AnnouncedDrafts.EVERY,
    flush: bool = True,
) -> dict[str, InvoiceParts]:
    """Calculate invoices of different subscriptions and put the lines and figures on them."""
    again = [invoice for invoice in invoices if invoice.last_computed_at is not None]
    reduced = [invoice for invoice in again if invoice.coupon_terms or invoice.tax_terms]
    had = await lines_of(session, [invoice.id for invoice in again])
    payers = await payers_of(session, invoices)
    due_terms = await due_terms_of(session, invoices)
    # usage may still come for what comes to nothing, as for any draft
    corrections = timedelta(seconds=(await read(session, InvoiceConfig)).finalization_delay_seconds)
    parts: dict[str, InvoiceParts] = {}
    drafted: list[Invoice] = []
    updated: list[Invoice] = []
    with session.no_autoflush:
        standing = set()
        for invoice, invoice_input in zip(invoices, gathered, strict=True):
            before, payer = had.get(invoice.id, ()), payers.get(invoice.customer_id)
            lines = _reconciled(invoice, bill(invoice_input.work, invoice_input.known), before)
            set_changed(invoice, tax_exempt=is_exempt(payer))
            put_terms(invoice, invoice_input, lines)
            parts[invoice.id] = InvoiceParts(payer, lines, computed=True)
            if _stands(invoice, lines, before):
                standing.add(invoice.id)
        await _delete_reductions(session, [invoice for invoice in reduced if invoice.id not in standing])
        await read_reductions(session, [invoice for invoice in reduced if invoice.id in standing], parts)
        for invoice, invoice_input in zip(invoices, gathered, strict=True):
            first = invoice.last_computed_at is None
            if invoice.id in standing:
                set_changed(invoice, last_computed_at=now)
            else:
                _put_figures(invoice, parts[invoice.id], now)
            if invoice.derives_due_date:
                derive_due_date(invoice, due_terms[invoice_input.work.snapshot.id], now)
            set_changed(invoice, usage_watermark=invoice_input.watermark)
            if not first:
                invoice.version += 1
            if not _is_skipped(invoice, corrections if first else timedelta(0), now):
                (drafted if first else updated).append(invoice)
    await _insert_new(session, invoices, list(parts.values()))
    if flush:
        await update_all(session, invoices)
        await session.flush()
    for invoice in updated if announced is not AnnouncedDrafts.NONE else ():
        await events.record_invoice_event(session, InvoiceEvent.UPDATED, invoice, parts[invoice.id])
    for invoice in drafted if announced is AnnouncedDrafts.EVERY else ():
        await events.record_invoice_event(session, InvoiceEvent.DRAFTED, invoice, parts[invoice.id])
    return parts


def _stands(invoice: Invoice, lines: Sequence[InvoiceLineItem], before: Sequence[InvoiceLineItem]) -> bool:
    """Whether nothing has changed since an invoice was computed that its figures follow from: charges and terms."""
    if invoice.last_computed_at is None or len(lines) != len(before) or changed_attributes(invoice):
        return False
    return not any(is_new(line) or changed_attributes(line) for line in lines)


async def _delete_reductions(session: AsyncSession, invoices: Sequence[Invoice]) -> None:
    """What coupons and taxes took before is worked out afresh."""
    ids = [invoice.id for invoice in invoices]
    if ids:
        await session.execute(delete(CouponApplicationRow).where(in_array(CouponApplicationRow.invoice_id, ids)))
        await session.execute(delete(TaxAppliedRow).where(in_array(TaxAppliedRow.entity_id, ids)))


def _put_figures(invoice: Invoice, parts: InvoiceParts, now: datetime) -> None:
    """Write what an invoice with these lines and its terms comes to, and what follows from that."""
    take_opening_credit(invoice, parts.lines)
    totals = calculate(invoice, parts.lines)
    write_figures(invoice, parts.lines, totals, now)
    derive(invoice, invoice.amount_paid, now)
    parts.put_reductions(reductions(invoice, totals, now))


def _is_skipped(invoice: Invoice, corrections: timedelta, now: datetime) -> bool:
    """Skip an invoice that came to nothing, and bring back one that no longer does; whether it is skipped.

    One of a whole period is looked at once more after `corrections`, if there is such a time.
    """
    nothing = invoice.subtotal == 0 and invoice.billing_reason is not BillingReason.SUBSCRIPTION_TRIAL_START
    if nothing and corrections and invoice.billing_reason is BillingReason.SUBSCRIPTION_CYCLE:
        invoice.recompute_at = now + corrections
    elif not nothing or (invoice.recompute_at is not None and invoice.recompute_at < now):
        invoice.recompute_at = None
    status = InvoiceStatus.SKIPPED if nothing else InvoiceStatus.DRAFT
    if invoice.invoice_status is not status:
        transitions.move(invoice, status)
    return nothing


async def _insert_new(session: AsyncSession, invoices: Sequence[Invoice], parts: Sequence[InvoiceParts]) -> None:
    await insert_all(session, [invoice for invoice in invoices if is_new(invoice)])
    await insert_all(session, [line for invoice_parts in parts for line in invoice_parts.lines if is_new(line)])
    coupons = [row for invoice_parts in parts for row in invoice_parts.coupon_applications if is_new(row)]
    await insert_all(session, coupons)
    await insert_all(session, [row for invoice_parts in parts for row in invoice_parts.taxes if is_new(row)])


def put_terms(invoice: Invoice, gathered: GatheredInput, lines: Sequence[InvoiceLineItem]) -> None:
    """The coupons and tax rates of an invoice with these lines, as they stand now."""
    billed = gathered.work.snapshot.id
    coupons = stored(terms_on(gathered.coupons, billed, lines, invoice.reference_date))
    set_changed(invoice, coupon_terms=coupons, tax_terms=stored(gathered.taxes))


def take_opening_credit(invoice: Invoice, lines: Sequence[InvoiceLineItem]) -> None:
    """Let the credit of a replaced subscription pay the fees in order, each down to its discount; only those that carry
    the same rates of tax.

    Rule: docs/rules/subscriptions.md#by-replacement
    """
    left = opening_credit_by_rates(invoice)
    if not left:
        return
    for line, worked in zip(lines, calculate(invoice, lines).lines, strict=True):
        if line.price_type is PriceType.FIXED:
            rates = worked.rates
            taken = min(left.get(rates, ZERO), EXACT.subtract(worked.amount, worked.discount))
            if taken > 0:
                left[rates] = EXACT.subtract(left[rates], taken)
            set_changed(line, amount=EXACT.subtract(worked.amount, taken), proration_credit=taken)


def new_lines(invoice: Invoice, draft: InvoiceDraft) -> list[InvoiceLineItem]:
    """The rows of a draft's lines, as they would be on an invoice that has none yet."""
    return _reconciled(invoice, draft, ())


def _reconciled(invoice: Invoice, draft: InvoiceDraft, before: Sequence[InvoiceLineItem]) -> list[InvoiceLineItem]:
    """The rows of a draft's lines. A charge that was on the invoice keeps its row; what is charged no more is
    archived."""
    kept: dict[tuple[str, str, str, datetime | None], InvoiceLineItem] = {}
    for row in before:
        kept[
            row.subscription_id or "",
            row.subscription_line_item_id or "",
            "" if row.kind is None else row.kind.value,
            row.period_start,
        ] = row
    lines = []
    for position, line in enumerate(draft.lines):
        same = (*line.key, line.start)
        if same in kept:
            row = kept.pop(same)
        else:
            line_id = new_id(Kind.INVOICE_LINE_ITEM)
            row = row_of(InvoiceLineItem, id=line_id, invoice_id=invoice.id, status=Status.PUBLISHED)
        _fill(row, invoice, line, position)
        lines.append(row)
    for row in kept.values():
        row.status = Status.ARCHIVED
    return lines


def in_price_unit(item: LineItemSnapshot | None, amount: Decimal, currency_code: str) -> dict[str, Any]:
    """A line's columns that show its amount in the unit in which its price was made; empty ones where it has none."""
    unit = None if item is None else item.price_unit
    return {
        "price_unit_id": unit and unit.id,
        "price_unit": unit and unit.code,
        "price_unit_amount": unit and unit.amount_of(amount, currency.digits(currency_code)),
    }


def _fill(row: InvoiceLineItem, invoice: Invoice, line: DraftLine, position: int) -> None:
    item = line.item
    set_changed(
        row,
        customer_id=invoice.customer_id,
        subscription_id=line.subscription_id,
        subscription_line_item_id=None if item is None else item.id,
        entity_id=line.plan_id,
        entity_type="plan" if item is None else item.entity_type.value,
        plan_display_name=line.plan_name,
        display_name=line.display_name,
        price_id=None if item is None else item.price_id,
        price_type=line.price_type,
        meter_id=None if item is None else item.meter_id,
        meter_display_name=None if item is None else item.meter_display_name or None,
        currency=invoice.currency,
        amount=line.amount,
        quantity=line.quantity,
        raw_usage=line.raw_usage,
        adjusted_entitlement_quantity=line.covered,
        period_start=line.start,
        period_end=line.end,
        **in_price_unit(item, line.amount, invoice.currency),
        commitment_info=None if line.commitment_info is None else dict(line.commitment_info),
        usage_windows=None if line.usage_windows is None else dict(line.usage_windows),
        kind=line.kind,
        commitment_base=line.base,
        proration_credit=ZERO,
        whole_seconds=line.whole_seconds,
        already_invoiced=line.already_invoiced,
        late_for_line_id=line.late_for_line_id,
        overage_factor=line.overage_factor,
        commitment_amount=line.commitment_amount,
        commitment_utilized=line.commitment_utilized,
        rating=dict(line.rating),
        meta=dict(line.metadata),
        position=position,
    )
