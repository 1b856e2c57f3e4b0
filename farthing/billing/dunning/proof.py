"""Proof of dunning: no case is open on an invoice that nobody is asked to pay, and none is long overdue."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.retries import is_due
from farthing.billing.dunning.tables import DunningCase
from farthing.core.clock import instant
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice

PATIENCE = timedelta(days=1)
MOST_NAMED = 1_000


async def dunning_differences(session: AsyncSession, now: datetime) -> list[Difference]:
    """Open cases of invoices that are not unpaid, and steps that nobody has made for a day; at most 1,000 of each."""
    unpaid = select(Invoice.id).where(text(UNPAID))
    idle = select(DunningCase).where(DunningCase.next_at.is_not(None), DunningCase.invoice_id.not_in(unpaid))
    found = [
        Difference(case.invoice_id, "dunning", case.case_status.value, "nothing is owed")
        for case in await session.scalars(idle.order_by(DunningCase.id).limit(MOST_NAMED))
    ]
    late = select(DunningCase).where(*is_due(now - PATIENCE)).order_by(DunningCase.id).limit(MOST_NAMED)
    found += [
        Difference(case.invoice_id, "dunning step", f"due {instant(case.next_at)}", "carried out by now")
        for case in await session.scalars(late)
        if case.next_at is not None
    ]
    return found
