"""What fixed coupons took of each service period, against the amount that they have for it."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

MOST_NAMED = 1_000

_OVERDRAWN = """
    WITH moved AS (
        SELECT coupon_association_id AS association_id, application.period_start, discounted_amount AS amount
        FROM coupon_applications AS application JOIN invoices ON invoices.id = invoice_id
        WHERE application.period_start IS NOT NULL AND application.status = 'published'
        AND invoices.status = 'published' AND invoice_status <> 'VOIDED'
        UNION ALL
        SELECT returned ->> 'coupon_association_id', (returned ->> 'period_start')::timestamptz,
               -(returned ->> 'amount')::numeric
        FROM proration_settlements, jsonb_array_elements(returned_discounts) AS returned
        WHERE status = 'published'
    )
    SELECT association_id, min(amount_off), sum(amount)
    FROM moved
    JOIN coupon_associations ON coupon_associations.id = association_id
    JOIN coupons ON coupons.id = coupon_id
    GROUP BY association_id, moved.period_start
    HAVING sum(amount) > min(amount_off)
    ORDER BY association_id LIMIT :most
"""


async def overdrawn_budgets(session: AsyncSession) -> list[Difference]:
    """Where the invoices of one service period took more of a fixed coupon than its amount; at most 1,000.

    Rule: docs/rules/discounts-and-taxes.md#budgets
    """
    rows = await session.execute(text(_OVERDRAWN), {"most": MOST_NAMED})
    return [
        Difference(association, "taken by the coupon in a period", plain(taken), f"at most {plain(amount)}")
        for association, amount, taken in rows
    ]
