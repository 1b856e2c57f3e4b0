"""Is every period billed, and billed once? Asked of the whole environment at once, in SQL. Reads only.

A period counts as billed once its invoice was begun, whatever became of it: one that came to nothing was skipped, one
that was wrong was voided. Twice billed it is only by invoices that stand.
Rule: docs/rules/subscriptions.md#invariants
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.invoices.figures.derivation import Difference
from farthing.storage.postgres import scope_of

MOST = 1_000
"""Differences of one kind that are named."""

# what threshold invoices, cycles and a final invoice are for tiles the time that was billed
_TILES = """
    tiles AS (
        SELECT subscription_id, id AS invoice_id, period_start, period_end, invoice_status <> 'VOIDED' AS stands
        FROM invoices
        WHERE environment_id = :environment AND status = 'published' AND invoice_type = 'SUBSCRIPTION' AND derived_key
            AND billing_reason IN ('SUBSCRIPTION_CYCLE', 'PRORATION', 'AUTO_INVOICE_THRESHOLD')
    )
"""

# Between the first day that is charged here and the open period nothing may be missing. A child's periods are on its
# parent's invoices for as long as it is one, so a gap counts only where it had something to be charged every period,
# and nothing of it ever stood on another's invoice.
_GAPS = f"""
    WITH {_TILES}, billed AS (
        SELECT *, coalesce(billed_from, least(coalesce(trial_end, start_date), current_period_start)) AS first
        FROM subscriptions
        WHERE environment_id = :environment AND status = 'published' AND subscription_status <> 'draft'
            AND subscription_type NOT IN ('inherited', 'grouped_invoicing')
    ), marks AS (
        SELECT id AS subscription_id, first AS since, first AS until FROM billed
        UNION ALL SELECT id, current_period_start, current_period_start FROM billed
        UNION ALL SELECT subscription_id, period_start, period_end FROM tiles
    ), reached AS (
        SELECT subscription_id, since, max(until) OVER (
            PARTITION BY subscription_id ORDER BY since, until ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS until FROM marks
    )
    SELECT billed.id AS "where", reached.until, reached.since
    FROM reached JOIN billed ON billed.id = reached.subscription_id
    WHERE reached.since > reached.until
        AND EXISTS (
            SELECT FROM subscription_line_items AS item
            WHERE item.environment_id = :environment AND item.subscription_id = billed.id AND item.status = 'published'
                AND item.start_date < reached.since AND coalesce(item.end_date, 'infinity') > reached.until
                AND (item.price_type = 'USAGE' OR (item.billing_period = billed.billing_period
                    AND item.billing_period_count = billed.billing_period_count))
        )
        AND NOT EXISTS (
            SELECT FROM subscription_line_items AS item
            JOIN invoice_line_items AS line ON line.environment_id = :environment
                AND line.subscription_line_item_id = item.id AND line.status = 'published'
            JOIN invoices AS other ON other.id = line.invoice_id
            WHERE item.environment_id = :environment AND item.subscription_id = billed.id
                AND other.subscription_id <> billed.id
        )
    ORDER BY billed.id, reached.until LIMIT {MOST}
"""

_OVERLAPS = f"""
    WITH {_TILES}, reached AS (
        SELECT invoice_id, period_start, period_end, max(period_end) OVER (
            PARTITION BY subscription_id ORDER BY period_start, period_end, invoice_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS until FROM tiles WHERE stands
    )
    SELECT invoice_id AS "where", period_start, period_end, until FROM reached
    WHERE period_start < until ORDER BY invoice_id LIMIT {MOST}
"""

# an opening happens once
_OPENINGS = f"""
    SELECT subscription_id AS "where", billing_reason AS reason, count(*) AS n FROM invoices
    WHERE environment_id = :environment AND status = 'published' AND invoice_status <> 'VOIDED'
        AND invoice_type = 'SUBSCRIPTION' AND derived_key AND billing_reason IN ('SUBSCRIPTION_CREATE',
            'SUBSCRIPTION_UPDATE', 'SUBSCRIPTION_TRIAL_START', 'SUBSCRIPTION_TRIAL_END')
    GROUP BY subscription_id, billing_reason HAVING count(*) > 1
    ORDER BY subscription_id LIMIT {MOST}
"""

# each draft took the subscription's next number, under its lock; no invoice is ever removed
_BEGUN = f"""
    SELECT one.id AS "where", one.invoices_begun AS begun, count(invoice.id) AS n
    FROM subscriptions AS one LEFT JOIN invoices AS invoice ON invoice.environment_id = :environment
        AND invoice.subscription_id = one.id AND invoice.billing_sequence IS NOT NULL
    WHERE one.environment_id = :environment
    GROUP BY one.id, one.invoices_begun HAVING count(invoice.id) <> one.invoices_begun
    ORDER BY one.id LIMIT {MOST}
"""

# Charged twice. Threshold invoices and late lines share the window of their period's line and say what they left out;
# a trial's opening charges nothing; windows changed by hand are somebody's word.
_TWICE = f"""
    WITH charged AS (
        SELECT line.subscription_line_item_id AS item_id, line.invoice_id, min(line.id) AS line_id,
            min(line.period_start) AS since, max(line.period_end) AS until
        FROM invoice_line_items AS line JOIN invoices AS invoice ON invoice.id = line.invoice_id
        WHERE line.environment_id = :environment AND line.status = 'published'
            AND line.subscription_line_item_id IS NOT NULL AND line.parent_line_item_id IS NULL
            AND line.kind IN ('fixed', 'usage', 'overage')
            AND invoice.status = 'published' AND invoice.invoice_status IN ('DRAFT', 'FINALIZED')
            AND invoice.invoice_type = 'SUBSCRIPTION' AND invoice.derived_key
            AND invoice.billing_reason NOT IN ('AUTO_INVOICE_THRESHOLD', 'SUBSCRIPTION_TRIAL_START')
        GROUP BY line.subscription_line_item_id, line.invoice_id
    ), reached AS (
        SELECT *, max(until) OVER (
            PARTITION BY item_id ORDER BY since, until, invoice_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before FROM charged
    )
    SELECT line_id AS "where", since, until, before FROM reached
    WHERE since < before OR (since = until AND before IS NOT NULL) ORDER BY line_id LIMIT {MOST}
"""

# What an invoice of a whole period must have a line for: usage of the period, and fees as long as it, in arrear for the
# period and in advance for the next if the subscription went on; and the invoice that ends a trial, fees in advance. An
# item that came after the computation could not be on it. A line on any invoice that stands will do, but for a trial's
# opening, which charges nothing.
_MISSING = f"""
    WITH computed AS (
        SELECT invoice.id, invoice.subscription_id, invoice.period_start, invoice.period_end, invoice.billing_reason,
            invoice.last_computed_at, one.billing_period, one.billing_period_count, one.current_period_start
        FROM invoices AS invoice JOIN subscriptions AS one ON one.id = invoice.subscription_id
        WHERE invoice.environment_id = :environment AND invoice.status = 'published'
            AND invoice.invoice_status IN ('DRAFT', 'FINALIZED', 'SKIPPED') AND invoice.invoice_type = 'SUBSCRIPTION'
            AND invoice.derived_key AND NOT invoice.is_manually_edited AND invoice.last_computed_at IS NOT NULL
            AND invoice.billing_reason IN ('SUBSCRIPTION_CYCLE', 'PRORATION', 'SUBSCRIPTION_TRIAL_END')
    ), ahead AS (
        SELECT *, CASE billing_reason WHEN 'SUBSCRIPTION_CYCLE' THEN period_end ELSE period_start END AS since
        FROM computed
        WHERE billing_reason = 'SUBSCRIPTION_TRIAL_END'
            OR (billing_reason = 'SUBSCRIPTION_CYCLE' AND current_period_start >= period_end)
    ), owed AS (
        SELECT computed.id, item.id AS item_id,
            greatest(item.start_date, computed.period_start) AS since,
            least(coalesce(item.end_date, 'infinity'), computed.period_end) AS until
        FROM computed JOIN subscription_line_items AS item ON item.environment_id = :environment
            AND item.subscription_id = computed.subscription_id AND item.status = 'published'
            AND item.created_at < computed.last_computed_at
        WHERE computed.billing_reason <> 'SUBSCRIPTION_TRIAL_END' AND (item.price_type = 'USAGE'
            OR (item.invoice_cadence = 'ARREAR' AND item.billing_period = computed.billing_period
                AND item.billing_period_count = computed.billing_period_count))
        UNION ALL
        SELECT ahead.id, item.id, ahead.since,
            least(coalesce(item.end_date, 'infinity'), ahead.since + interval '1 microsecond')
        FROM ahead JOIN subscription_line_items AS item ON item.environment_id = :environment
            AND item.subscription_id = ahead.subscription_id AND item.status = 'published'
            AND item.created_at < ahead.last_computed_at AND item.start_date <= ahead.since
        WHERE item.price_type = 'FIXED' AND item.invoice_cadence = 'ADVANCE'
            AND item.billing_period = ahead.billing_period AND item.billing_period_count = ahead.billing_period_count
    )
    SELECT owed.id AS "where", owed.item_id, owed.since, owed.until FROM owed
    WHERE owed.since < owed.until AND NOT EXISTS (
        SELECT FROM invoice_line_items AS line JOIN invoices AS other ON other.id = line.invoice_id
        WHERE line.environment_id = :environment AND line.subscription_line_item_id = owed.item_id
            AND line.status = 'published' AND line.period_start < owed.until AND line.period_end > owed.since
            AND other.status = 'published' AND other.invoice_status <> 'VOIDED'
            AND other.billing_reason <> 'SUBSCRIPTION_TRIAL_START'
    )
    ORDER BY owed.id, owed.item_id LIMIT {MOST}
"""


async def incomplete(session: AsyncSession) -> list[Difference]:
    """Every period of the environment that is missing or billed twice, at most `MOST` of each kind."""
    found = [
        Difference(
            row["where"], "billed without a gap", f"nothing from {_at(row['until'])}", f"up to {_at(row['since'])}"
        )
        for row in await _rows(session, _GAPS)
    ]
    found += [
        Difference(
            row["where"], "period", _span(row), f"from {_at(row['until'])} on, for another is billed up to there"
        )
        for row in await _rows(session, _OVERLAPS)
    ]
    found += [
        Difference(row["where"], f"invoices with reason {row['reason']}", str(row["n"]), "1")
        for row in await _rows(session, _OPENINGS)
    ]
    found += [
        Difference(row["where"], "invoices begun", str(row["begun"]), f"{row['n']} are there")
        for row in await _rows(session, _BEGUN)
    ]
    found += [
        Difference(
            row["where"],
            "charged once",
            f"{_at(row['since'])} to {_at(row['until'])}",
            f"charged up to {_at(row['before'])} on another invoice",
        )
        for row in await _rows(session, _TWICE)
    ]
    found += [
        Difference(row["where"], "line", "none", f"a line for {row['item_id']} from {_at(row['since'])}")
        for row in await _rows(session, _MISSING)
    ]
    return found


async def _rows(session: AsyncSession, query: str) -> Sequence[RowMapping]:
    return (await session.execute(text(query), {"environment": scope_of(session).environment_id})).mappings().all()


def _at(moment: datetime) -> str:
    return instant(moment)


def _span(row: RowMapping) -> str:
    return f"{_at(row['period_start'])} to {_at(row['period_end'])}"
