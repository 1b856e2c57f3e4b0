"""What an ended subscription used more than it was charged for: an invoice of its own, because none will come.

Rule: docs/rules/late-usage.md#corrections-of-invoices
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.draft import InvoiceDraft
from farthing.billing.corrections.differences import LineDifference
from farthing.billing.corrections.tables import InvoiceCorrection
from farthing.billing.late_usage.charges import late_line
from farthing.billing.periods.drafts import new_lines, put_terms
from farthing.billing.periods.inputs import InvoiceRequest, gather
from farthing.calendar.period import Period
from farthing.core.ids import Kind, new_id
from farthing.invoices.figures.computation import compute
from farthing.invoices.figures.settlement import settle
from farthing.invoices.lifecycle import drafts, transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivable import BillingReason, InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.enums import InvoiceTrigger


async def charge_at_once(
    session: AsyncSession,
    corrected: Invoice,
    correction: InvoiceCorrection,
    more: Sequence[LineDifference],
    now: datetime,
) -> Invoice:
    """A final invoice of late lines to whoever was invoiced, with the coupons of their periods and the taxes of now."""
    assert corrected.subscription_id is not None, "only invoices of subscriptions are corrected"
    assert corrected.period_start is not None, "billing gives every invoice its period"
    assert corrected.period_end is not None, "billing gives every invoice its period"
    invoice = await drafts.begin(
        session,
        Invoice(
            id=new_id(Kind.INVOICE),
            customer_id=corrected.customer_id,
            subscription_id=corrected.subscription_id,
            subscription_customer_id=corrected.subscription_customer_id,
            currency=corrected.charge_currency,
            invoice_type=InvoiceType.ONE_OFF,
            invoice_status=InvoiceStatus.DRAFT,
            billing_reason=BillingReason.SUBSCRIPTION_UPDATE,
            billing_period=corrected.billing_period,
            idempotency_key=_key(correction.id),
            period_start=corrected.period_start,
            period_end=corrected.period_end,
            reference_date=now,
            derives_due_date=True,
            meta={},
        ),
    )
    charges = [late_line(replace(line.recheckable, is_left_by_correction=True), line.late) for line in more]
    lines = new_lines(invoice, InvoiceDraft(tuple(line for line in charges if line is not None)))
    drafts.add_lines(session, invoice, lines)
    await session.flush()
    period = Period(corrected.period_start, corrected.period_end)
    request = InvoiceRequest(corrected.subscription_id, InvoiceTrigger.UPDATE, period, invoice.id)
    (terms,) = await gather(session, [request], now)
    put_terms(invoice, terms, lines)
    await compute(session, invoice, now)
    await settle(session, invoice, now)
    await transitions.finalize(session, invoice, now, effects=ports_of(session, InvoicePorts).hooks)
    return invoice


async def charged_at_once(session: AsyncSession, correction_ids: Iterable[str]) -> dict[str, str]:
    """The invoice that each of these corrections made, by correction; those without one are left out."""
    by_key = {_key(correction_id): correction_id for correction_id in correction_ids}
    rows = await session.execute(
        select(Invoice.idempotency_key, Invoice.id)
        .where(in_array(Invoice.idempotency_key, by_key))
        .order_by(Invoice.created_at, Invoice.id)
    )
    return {by_key[key or ""]: invoice_id for key, invoice_id in rows}


def _key(correction_id: str) -> str:
    return f"correction-{correction_id}"
