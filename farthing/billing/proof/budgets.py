"""What coupons took on all invoices together, against what they may take."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

MOST_NAMED = 1_000

_OVERDRAWN = """
    WITH moved AS (
        SELECT coupon_association_id AS association_id, application.period_start,
               coalesce(source_discounted_amount, discounted_amount) AS amount
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


# what a budget had left, less than nothing else can have left of it: other invoices, those among them that are void now
_BUDGETS = """
    WITH budgets AS (
        SELECT invoices.id AS invoice_id, term ->> 'coupon_association_id' AS association_id,
               (budget ->> 'start')::timestamptz AS since, (budget ->> 'end')::timestamptz AS until,
               (budget ->> 'left')::numeric AS rest
        FROM invoices, jsonb_array_elements(coupon_terms) AS term, jsonb_array_elements(
            CASE jsonb_typeof(term -> 'budgets') WHEN 'array' THEN term -> 'budgets' END
        ) AS budget
        WHERE invoices.status = 'published' AND invoice_status <> 'VOIDED' AND jsonb_array_length(coupon_terms) > 0
        -- of one that another system issued we know what it took, not what it found left
        AND source_type IS DISTINCT FROM 'taken_over'
    ), beside AS (
        SELECT invoice_id, association_id, since, rest, amount_off, (
            SELECT coalesce(sum(coalesce(source_discounted_amount, discounted_amount)), 0)
            FROM coupon_applications AS application
            WHERE coupon_association_id = association_id AND application.invoice_id <> budgets.invoice_id
            AND application.status = 'published' AND period_start >= since AND period_start < until
        ) AS taken
        FROM budgets
        JOIN coupon_associations ON coupon_associations.id = association_id
        JOIN coupons ON coupons.id = coupon_id
    )
    SELECT invoice_id, since, rest, greatest(amount_off - taken, 0), amount_off FROM beside
    WHERE rest < greatest(amount_off - taken, 0) OR rest > amount_off
    ORDER BY invoice_id, since LIMIT :most
"""

_TWICE = """
    SELECT association.id, count(DISTINCT invoices.id)
    FROM coupon_associations AS association
    JOIN coupons ON coupons.id = coupon_id AND cadence = 'once'
    JOIN coupon_applications AS application ON application.coupon_association_id = association.id
        AND application.status = 'published'
        AND coalesce(source_discounted_amount, discounted_amount) > 0
    JOIN invoices ON invoices.id = invoice_id AND invoices.status = 'published' AND invoice_status <> 'VOIDED'
        AND invoice_type = 'SUBSCRIPTION'
    GROUP BY association.id HAVING count(DISTINCT invoices.id) > 1
    ORDER BY association.id LIMIT :most
"""

_TOO_LONG = """
    SELECT association.id, count(DISTINCT application.period_start), min(duration_in_periods)
    FROM coupon_associations AS association
    JOIN coupons ON coupons.id = coupon_id AND cadence = 'repeated'
    JOIN coupon_applications AS application ON application.coupon_association_id = association.id
        AND application.status = 'published' AND application.period_start IS NOT NULL
    JOIN invoices ON invoices.id = invoice_id AND invoices.status = 'published' AND invoice_status <> 'VOIDED'
    GROUP BY association.id HAVING count(DISTINCT application.period_start) > min(duration_in_periods)
    ORDER BY association.id LIMIT :most
"""

# a window that an invoice took a coupon for, against that of its association; an end may have been set since
_WINDOWS = """
    SELECT invoices.id, term ->> 'coupon_id', term ->> 'start', start_date
    FROM invoices, jsonb_array_elements(coupon_terms) AS term
    JOIN coupon_associations AS association ON association.id = term ->> 'coupon_association_id'
    WHERE invoices.status = 'published' AND invoice_status <> 'VOIDED' AND jsonb_array_length(coupon_terms) > 0
    AND term ->> 'start' IS NOT NULL AND (
        (term ->> 'start')::timestamptz <> start_date
        OR association.coupon_id <> term ->> 'coupon_id'
        OR (term ->> 'service_from')::timestamptz < counted_from
    )
    ORDER BY invoices.id LIMIT :most
"""


async def coupon_differences(session: AsyncSession) -> list[Difference]:
    """Where the coupons of subscriptions took more, or had less left, than their amounts and periods allow."""
    return [
        *await overdrawn_budgets(session),
        *await _wrong_budgets(session),
        *await _used_too_often(session),
        *await _wrong_windows(session),
    ]


async def overdrawn_budgets(session: AsyncSession) -> list[Difference]:
    """Where the invoices of one service period took more of a fixed coupon than its amount; at most 1,000.

    Rule: docs/rules/discounts-and-taxes.md#budgets
    """
    rows = await session.execute(text(_OVERDRAWN), {"most": MOST_NAMED})
    return [
        Difference(association, "taken by the coupon in a period", plain(taken), f"at most {plain(amount)}")
        for association, amount, taken in rows
    ]


async def _wrong_budgets(session: AsyncSession) -> list[Difference]:
    """What an invoice found left of a budget is its amount less what other invoices took, at the least."""
    rows = await session.execute(text(_BUDGETS), {"most": MOST_NAMED})
    return [
        Difference(invoice_id, f"left of the budget from {since}", plain(left), f"{plain(least)} to {plain(most)}")
        for invoice_id, since, left, least, most in rows
    ]


async def _used_too_often(session: AsyncSession) -> list[Difference]:
    """A coupon for one invoice is on one, and one for n periods discounts no more than n.

    Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
    """
    twice = await session.execute(text(_TWICE), {"most": MOST_NAMED})
    long = await session.execute(text(_TOO_LONG), {"most": MOST_NAMED})
    return [
        *(Difference(association, "invoices with the coupon", str(count), "1") for association, count in twice),
        *(
            Difference(association, "periods with the coupon", str(count), f"at most {periods}")
            for association, count, periods in long
        ),
    ]


async def _wrong_windows(session: AsyncSession) -> list[Difference]:
    rows = await session.execute(text(_WINDOWS), {"most": MOST_NAMED})
    return [
        Difference(invoice_id, f"window of coupon {coupon_id}", str(stored), f"from {start}")
        for invoice_id, coupon_id, stored, start in rows
    ]
