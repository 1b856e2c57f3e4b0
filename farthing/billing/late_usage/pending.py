"""What corrections have left to the next invoice to charge, and no late line has charged since."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.late_usage.detection import CHARGING
from farthing.storage.postgres import scope_of

# under a clock that stands still, ids tell which of two came first
_PENDING = text(
    """
    SELECT correction.usage_line_id, correction.invoice_id
    FROM invoice_correction_lines AS correction
    WHERE correction.environment_id = :environment AND correction.direction = 'charge'
        AND correction.subscription_id = ANY (:subscriptions)
        AND NOT EXISTS (
            SELECT FROM invoice_line_items AS late
            JOIN invoices AS charging ON charging.id = late.invoice_id
            WHERE late.environment_id = :environment
                AND late.subscription_line_item_id = correction.subscription_line_item_id
                AND late.late_for_line_id = correction.usage_line_id AND late.status = 'published'
                AND (late.created_at, right(late.id, 26)) >= (correction.created_at, right(correction.id, 26))
                AND charging.id <> ALL (:own)
                AND charging.status = 'published' AND charging.invoice_status = ANY (:charging)
        )
    """
)


async def pending_charges(
    session: AsyncSession, subscription_ids: Collection[str], own: Sequence[str] = ()
) -> dict[str, str]:
    """The usage lines that wait to be charged, and their invoices. Late lines on `own` invoices do not count: those
    are being computed."""
    rows = await session.execute(
        _PENDING,
        {
            "environment": scope_of(session).environment_id,
            "subscriptions": list(subscription_ids),
            "own": list(own),
            "charging": [status.value for status in CHARGING],
        },
    )
    return {line_id: invoice_id for line_id, invoice_id in rows}  # noqa: C416 (rows are no pairs)
