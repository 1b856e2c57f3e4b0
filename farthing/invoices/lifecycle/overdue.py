"""Telling that invoices are overdue: once per invoice and due date.

Rule: docs/rules/customer-summary.md#overdue-event
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice


async def notify_overdue(session: AsyncSession, now: datetime, batch: int) -> int:
    """Record up to `batch` invoices that are overdue at `now` and were not announced; how many.

    Invoices that another transaction holds are left for the next run. A due date that moves arms the event again;
    a payment does not.
    """
    found = await session.scalars(
        select(Invoice)
        .where(text(UNPAID), Invoice.due_date < now, Invoice.overdue_notified_at.is_(None))
        .order_by(Invoice.due_date, Invoice.id)
        .limit(batch)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    overdue = list(found)
    for invoice in overdue:
        invoice.overdue_notified_at = now
    await events.record_invoice_events(session, InvoiceEvent.OVERDUE, overdue)
    return len(overdue)
