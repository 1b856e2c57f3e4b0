"""What customers owe: the usage of open periods, and invoices that are not paid. Valued in memory; nothing is written.

Rule: docs/rules/credits.md#real-time-balance
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache

from sqlalchemy import CompoundSelect, bindparam, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import bill
from farthing.billing.calculation.reference_date import reference_date_of
from farthing.billing.periods.drafts import invoice_request_of, layers, new_lines, put_terms, take_opening_credit
from farthing.billing.periods.inputs import GatheredInput, GatheredParts, InvoiceRequest, gather
from farthing.core.enums import LineKind, Status
from farthing.core.ids import Kind, new_id
from farthing.core.money import ZERO, exact_sum
from farthing.credits.ports import Payer
from farthing.credits.rules.real_time import OpenInvoice, PendingCharges
from farthing.invoices.figures.computation import calculate, is_exempt, net_sums
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import payers_of
from farthing.invoices.receivable import UNPAID, BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.rating.totals.calculation import InvoiceTotals
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot import loading

_USAGE = frozenset({LineKind.USAGE, LineKind.OVERAGE})


async def measure_pending_charges(
    session: AsyncSession, payers: Collection[Payer], now: datetime
) -> Mapping[Payer, PendingCharges]:
    """By payer: the usage of open periods as the next invoices will charge it, after discounts and before tax, and
    every invoice that is not paid, with drafts whose period is over."""
    usage = await _open_usage(session, payers, now)
    invoices = await _open_invoices(session, payers, now)
    return {payer: PendingCharges(usage.get(payer, ZERO), invoices.get(payer, ())) for payer in payers}


async def _open_usage(session: AsyncSession, payers: Collection[Payer], now: datetime) -> Mapping[Payer, Decimal]:
    snapshots = await loading.load_active(session, payers)
    requests = [
        InvoiceRequest(snapshot.id, InvoiceTrigger.CYCLE, snapshot.current, snapshot=snapshot) for snapshot in snapshots
    ]
    sums: defaultdict[Payer, Decimal] = defaultdict(lambda: ZERO)
    for gathered in await gather(session, requests, now, GatheredParts.USAGE):
        payer = gathered.work.snapshot.payer_id, gathered.work.snapshot.currency
        invoice = Invoice(
            customer_id=payer[0],
            currency=payer[1],
            billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
            reference_date=reference_date_of(InvoiceTrigger.CYCLE, gathered.work.period),
            opening_credit_terms=[],
        )
        lines, totals = value_invoice(invoice, gathered)
        used = [worked.net for line, worked in zip(lines, totals.lines, strict=True) if line.kind in _USAGE]
        sums[payer] = exact_sum([sums[payer], *used])
    return sums


def value_invoice(invoice: Invoice, gathered: GatheredInput) -> tuple[list[InvoiceLineItem], InvoiceTotals]:
    """The lines and figures of an invoice that is in no session."""
    invoice.id = new_id(Kind.INVOICE)
    lines = new_lines(invoice, bill(gathered.work, gathered.known))
    put_terms(invoice, gathered, lines)
    take_opening_credit(invoice, lines)
    return lines, calculate(invoice, lines)


async def _open_invoices(
    session: AsyncSession, payers: Collection[Payer], now: datetime
) -> Mapping[Payer, list[OpenInvoice]]:
    uncomputed = []
    invoices: defaultdict[Payer, list[OpenInvoice]] = defaultdict(list)
    rows = await session.execute(_unpaid_and_ended(), {"payers": list(payers), "now": now})
    for invoice_id, customer_id, currency, *amounts, is_uncomputed in rows:
        if is_uncomputed:
            uncomputed.append(invoice_id)
        else:
            invoices[customer_id, currency].append(OpenInvoice(invoice_id, *amounts))
    if uncomputed:
        drafts = (await session.scalars(select(Invoice).where(in_array(Invoice.id, uncomputed)))).all()
        for payer, open_invoice in await _value_drafts(session, drafts, now):
            invoices[payer].append(open_invoice)
    return invoices


@cache
def _unpaid_and_ended() -> CompoundSelect[str, str, str, Decimal, Decimal, Decimal, bool]:
    """The invoices of `payers` that are not paid, and their drafts of periods that have ended `now`."""
    of_payers = tuple_(Invoice.customer_id, Invoice.currency).in_(bindparam("payers", expanding=True))
    ended_draft = (
        of_payers,
        Invoice.status == Status.PUBLISHED,
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
        Invoice.period_end <= bindparam("now"),
    )
    figures = (
        Invoice.id,
        Invoice.customer_id,
        Invoice.currency,
        Invoice.amount_remaining,
        Invoice.net_usage,
        Invoice.amount_paid,
        (Invoice.invoice_status == InvoiceStatus.DRAFT) & Invoice.last_computed_at.is_(None),
    )
    unpaid = select(*figures).where(of_payers, text(UNPAID))
    ended = select(*figures).where(*ended_draft)
    return unpaid.union_all(ended)


async def _value_drafts(
    session: AsyncSession, drafts: Sequence[Invoice], now: datetime
) -> list[tuple[Payer, OpenInvoice]]:
    """Drafts that were begun and not computed, as they would be computed now."""
    customers = await payers_of(session, drafts)
    valued = []
    for layer in layers(drafts):
        found = await gather(session, [invoice_request_of(draft) for draft in layer], now)
        for draft, gathered in zip(layer, found, strict=True):
            copy = Invoice(
                customer_id=draft.customer_id,
                currency=draft.currency,
                billing_reason=draft.billing_reason,
                reference_date=draft.reference_date,
                opening_credit_terms=draft.opening_credit_terms,
                tax_exempt=is_exempt(customers.get(draft.customer_id)),
            )
            _, totals = value_invoice(copy, gathered)
            open_invoice = OpenInvoice(draft.id, totals.total, net_sums(totals).usage)
            valued.append(((draft.customer_id, draft.currency), open_invoice))
    return valued
