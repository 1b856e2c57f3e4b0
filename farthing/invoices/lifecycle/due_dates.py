"""When an invoice is due, by the terms of its subscription, and telling, once per due date, that it is overdue.

Rule: docs/rules/invoices-and-payments.md#due-date
Rule: docs/rules/customer-summary.md#overdue-event
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.due import DueTerms, due_date, is_issued_late
from farthing.calendar.zones import zone
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices import events
from farthing.invoices.events import InvoiceEvent
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription


async def due_terms_of(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, DueTerms]:
    """The terms of the invoices whose due date is derived, by subscription: its own, else the environment's days."""
    subscription_ids = {invoice.subscription_id for invoice in invoices if invoice.derives_due_date} - {None}
    if not subscription_ids:
        return {}
    config = await read(session, InvoiceConfig)
    with session.no_autoflush:  # a run writes what it has changed later, in one statement
        rows = await session.execute(
            select(Subscription.id, Subscription.payment_terms, Subscription.timezone).where(
                in_array(Subscription.id, sorted(filter(None, subscription_ids)))
            )
        )
    return {
        subscription_id: DueTerms(terms, config.due_date_days, zone(timezone))
        for subscription_id, terms, timezone in rows
    }


def derive_due_date(invoice: Invoice, due_terms: DueTerms, issued_at: datetime) -> None:
    """Set the due date of an invoice that is, or would be, issued at that instant; nothing owed is never due.

    One that a caller chose stays.
    """
    if invoice.derives_due_date:
        invoice.due_date = due_date(invoice.reference_date, issued_at, due_terms) if invoice.total > 0 else None


def is_due_date_open(invoice: Invoice, issued_at: datetime) -> bool:
    """Whether issuing an invoice at that instant may move the due date that its draft has."""
    return invoice.derives_due_date and (invoice.due_date is None or is_issued_late(invoice.reference_date, issued_at))


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
