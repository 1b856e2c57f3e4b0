"""The company of the benchmark after its billing run: what its books must be, whoever ran it and however often."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import func, select

from farthing.invoices.figures.derivation import all_differences, total_differences
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice, InvoiceTotal
from farthing.storage.postgres import Database
from farthing.storage.record.outbox import SystemEvent
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription

ROLLED = Subscription.current_period_start == datetime(2026, 2, 1, tzinfo=UTC)
"""Which subscriptions have moved on to February."""


async def books_are_right(database: Database, scope: Scope, count: int) -> None:
    """Each of `count` subscriptions has rolled once and has one final invoice, which comes to what one run makes of it;
    numbers have no gap, totals and events are those of these invoices."""
    async with database.transaction(scope, read_only=True) as session:
        rolled = await session.scalar(select(func.count()).select_from(Subscription).where(ROLLED))
        invoices = (await session.scalars(select(Invoice))).all()
        lines = await session.scalar(select(func.count()).select_from(InvoiceLineItem))
        told = await session.execute(
            select(SystemEvent.event_name, SystemEvent.entity_id, func.count()).group_by(
                SystemEvent.event_name, SystemEvent.entity_id
            )
        )
        totals = (
            await session.execute(select(func.sum(InvoiceTotal.invoice_count), func.sum(InvoiceTotal.revenue)))
        ).one()
        wrong = [*await all_differences(session, invoices), *await total_differences(session)]
    assert (rolled, len(invoices), lines) == (count, count, count * 4)
    assert len({invoice.subscription_id for invoice in invoices}) == count
    assert {invoice.invoice_status for invoice in invoices} == {InvoiceStatus.FINALIZED}
    assert sorted(str(invoice.invoice_number) for invoice in invoices) == [
        f"INV-202602-{n:05}" for n in range(1, count + 1)
    ]
    # each meter counted 1 + 2 + ... + 20 of 0.02, three times, beside the fee
    assert {f"{invoice.subtotal:.2f}" for invoice in invoices} == {"62.60"}
    assert totals == (count, count * Decimal("62.60"))
    assert wrong == []
    events: dict[str, list[str]] = {}
    for name, entity_id, times in told:
        assert times == 1, f"{name} of {entity_id} was told {times} times"
        events.setdefault(name, []).append(entity_id)
    ids = sorted(invoice.id for invoice in invoices)
    assert sorted(events["invoice.create.drafted"]) == sorted(events["invoice.update.finalized"]) == ids
    assert sorted(events["subscription.updated"]) == sorted(str(invoice.subscription_id) for invoice in invoices)
