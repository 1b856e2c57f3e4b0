"""Invoices that are still to come in this month: periods that end in it, and drafts that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MOST_SHOWN = 8

_UPCOMING = text(
    """
    SELECT s.id, s.current_period_end, s.timezone, c.name, p.name, s.currency, previous.total, count(*) OVER ()
    FROM subscriptions AS s
    JOIN customers AS c ON c.id = s.customer_id
    LEFT JOIN plans AS p ON p.id = s.plan_id
    LEFT JOIN LATERAL (
        SELECT i.total FROM invoices AS i
        WHERE i.subscription_id = s.id AND i.currency = s.currency AND i.invoice_status = 'FINALIZED'
            AND i.status = 'published'
        ORDER BY i.created_at DESC LIMIT 1
    ) AS previous ON true
    WHERE s.status = 'published' AND s.subscription_status IN ('active', 'trialing')
        AND s.current_period_end >= :now AND s.current_period_end < :until
    ORDER BY s.current_period_end, s.id LIMIT :most
    """
)


@dataclass(frozen=True, slots=True)
class UpcomingInvoice:
    """A period that ends soon, and what the invoice before asked for."""

    subscription_id: str
    at: datetime
    zone: str
    customer_name: str
    plan_name: str | None
    currency: str
    previous_total: Decimal | None


async def upcoming_invoices(
    session: AsyncSession, now: datetime, until: datetime
) -> tuple[Sequence[UpcomingInvoice], int]:
    """The next periods to end before a moment, the soonest first, and how many there are in all."""
    rows = (await session.execute(_UPCOMING, {"now": now, "until": until, "most": MOST_SHOWN})).all()
    return [UpcomingInvoice(*row[:-1]) for row in rows], rows[0][-1] if rows else 0
