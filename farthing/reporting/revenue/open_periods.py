"""What open periods would be invoiced for now: lines that are worked out as the next invoices will be, and not kept.

Rule: docs/rules/reporting.md#which-lines-count
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.reference_date import reference_date_of
from farthing.billing.periods.inputs import GatheredInput, InvoiceRequest, gather
from farthing.billing.reads.pending_charges import value_invoice
from farthing.calendar.billing import InvoiceCadence
from farthing.calendar.period import Period
from farthing.core.enums import Status
from farthing.core.money import ZERO
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.rating.totals.lines import LineTotals
from farthing.reporting.revenue.lines import LineSelection, RevenueLine, RevenueStatus
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import InvoiceTrigger, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription

PERIODS_AT_ONCE = 100
"""How many are worked out before others have their turn."""
_INVOICED = (SubscriptionType.STANDALONE, SubscriptionType.DELEGATED_INVOICING, SubscriptionType.PARENT)


async def earliest_open_period(session: AsyncSession, selection: LineSelection) -> datetime | None:
    """When the first of the open periods of a selection's customers began; None without any."""
    query = select(func.min(Subscription.current_period_start)).where(
        Subscription.status == Status.PUBLISHED, Subscription.subscription_status == SubscriptionStatus.ACTIVE
    )
    if selection.customer_ids is not None:
        query = query.where(in_array(Subscription.payer_id, selection.customer_ids))
    earliest: datetime | None = await session.scalar(query)
    return earliest


async def provisional_lines(
    session: AsyncSession, selection: LineSelection, until: datetime, now: datetime
) -> list[RevenueLine]:
    """The lines of the next invoice of every active subscription whose period began before `until`, as it would be
    now."""
    row = Subscription
    query = select(row.id, row.payer_id, row.currency, row.current_period_start, row.current_period_end).where(
        row.status == Status.PUBLISHED,
        row.subscription_status == SubscriptionStatus.ACTIVE,
        row.subscription_type.in_(_INVOICED),
        row.start_date <= now,
        row.current_period_start < until,
    )
    if selection.customer_ids is not None:
        query = query.where(in_array(row.payer_id, selection.customer_ids))
    if selection.currency is not None:
        query = query.where(row.currency == selection.currency)
    rows = (await session.execute(query.order_by(row.id))).all()
    payers = {subscription_id: payer_id for subscription_id, payer_id, *_ in rows}
    requests = [InvoiceRequest(row.id, InvoiceTrigger.CYCLE, Period(row[3], row[4])) for row in rows]
    lines: list[RevenueLine] = []
    for number in range(0, len(requests), PERIODS_AT_ONCE):
        for gathered in await gather(session, requests[number : number + PERIODS_AT_ONCE], now):
            lines += [line for line in _lines_of(gathered, payers) if selection.holds(line)]
    return lines


def _lines_of(gathered: GatheredInput, payers: Mapping[str, str]) -> list[RevenueLine]:
    snapshot = gathered.work.snapshot
    invoice = Invoice(
        customer_id=payers[snapshot.id],
        currency=snapshot.currency,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        reference_date=reference_date_of(InvoiceTrigger.CYCLE, gathered.work.period),
        opening_credit=ZERO,
    )
    made, totals = value_invoice(invoice, gathered)
    return [_line(invoice, snapshot, row, worked) for row, worked in zip(made, totals.lines, strict=True)]


def _line(invoice: Invoice, snapshot: SubscriptionSnapshot, row: InvoiceLineItem, worked: LineTotals) -> RevenueLine:
    members = (snapshot, *snapshot.grouped)
    items = (item for member in members if (item := member.item(row.subscription_line_item_id or "")) is not None)
    item = next(items, None)
    return RevenueLine(
        id=row.id,
        status=RevenueStatus.PROVISIONAL,
        invoice_type=InvoiceType.SUBSCRIPTION,
        customer_id=invoice.customer_id,
        subscription_id=row.subscription_id or "",
        item_id=row.subscription_line_item_id or "",
        price_id=row.price_id or "",
        meter_id=row.meter_id or "",
        currency=invoice.currency,
        kind=row.kind,
        price_type=row.price_type,
        amount=worked.amount,
        quantity=row.quantity,
        raw_usage=row.raw_usage,
        covered=row.adjusted_entitlement_quantity or ZERO,
        line_discount=worked.line_item_discount,
        invoice_discount=worked.invoice_level_discount,
        period_start=row.period_start,
        period_end=row.period_end,
        dated_at=invoice.reference_date,
        booked_in_advance=item is not None and item.cadence is InvoiceCadence.ADVANCE,
    )
