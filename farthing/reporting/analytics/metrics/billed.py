"""What was invoiced: totals, credit notes and taxes, by period or as issued, on invoices or split over their lines.

Rule: docs/rules/reporting.md#two-views-of-what-was-invoiced
Rule: docs/rules/reporting.md#parts-of-an-invoice
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.notes.overpayments import RETURNED_OVERPAYMENT
from farthing.reporting.analytics.catalogue import LINE_DIMENSIONS
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, currency_digits, sums
from farthing.reporting.analytics.periods import Timeline


class BillingView(StrEnum):
    """Dated by period and restated, or as issued and never restated."""

    BY_PERIOD = "by_period"
    AS_ISSUED = "as_issued"


_TYPES = "i.invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') AND i.status = 'published'"
_OURS = f"i.environment_id = :environment AND {_TYPES}"
_DATE = "coalesce(i.period_end, i.finalized_at)"
_DIMENSIONS = "i.customer_id, i.subscription_id, i.currency, i.invoice_type, i.billing_reason, i.payment_status"


# of invoices what figures and dimensions need and no more: whole rows would be written to disk and read again
_FIGURES = f"i.id, i.total, i.net_total, i.total_tax, i.subtotal, i.total_discount, {_DIMENSIONS}"


def _within(at: str) -> str:
    return f"{at} >= :since AND {at} < :until"


# the date is one or the other column: the planner knows how many rows each condition leaves
_DATED = f"({_within('i.period_end')} OR i.period_end IS NULL AND {_within('i.finalized_at')})"


def _moments(view: BillingView) -> str:
    """Invoices, each at the moments at which it counts, with the sign with which it does."""
    if view is BillingView.BY_PERIOD:
        return f"""
            SELECT {_FIGURES}, {_DATE} AS at, 1 AS sign FROM invoices AS i
            WHERE {_OURS} AND i.invoice_status = 'FINALIZED' AND {_DATED}
        """
    return f"""
        SELECT {_FIGURES}, i.finalized_at AS at, 1 AS sign FROM invoices AS i
        WHERE {_OURS} AND i.invoice_status IN ('FINALIZED', 'VOIDED') AND {_within("i.finalized_at")}
        UNION ALL
        SELECT {_FIGURES}, i.voided_at AS at, -1 AS sign FROM invoices AS i
        WHERE {_OURS} AND i.invoice_status = 'VOIDED' AND i.finalized_at IS NOT NULL AND {_within("i.voided_at")}
    """


def _notes(view: BillingView) -> str:
    """Credit notes, each at the moments at which it counts; its void takes it back, and so does that of its invoice."""
    source = "credit_notes AS n JOIN invoices AS i ON i.id = n.invoice_id AND i.environment_id = n.environment_id"
    ours = f"n.status = 'published' AND n.credit_note_status IN ('FINALIZED', 'VOIDED') AND {_OURS}"
    returned = f"({RETURNED_OVERPAYMENT})"
    chosen = f"""
        n.id AS note_id, {returned} AS returned, n.total_amount - {returned} AS total_amount,
        n.net_amount - {returned} AS net_amount, {_DIMENSIONS}
    """
    if view is BillingView.BY_PERIOD:
        return f"""
            SELECT {chosen}, {_DATE} AS at, -1 AS sign FROM {source}
            WHERE {ours} AND n.credit_note_status = 'FINALIZED' AND i.invoice_status = 'FINALIZED' AND {_DATED}
        """
    # each branch is dated by a column of its own, of which the planner knows how many rows it leaves
    return f"""
        SELECT {chosen}, n.finalized_at AS at, -1 AS sign FROM {source} WHERE {ours} AND {_within("n.finalized_at")}
        UNION ALL
        SELECT {chosen}, n.voided_at AS at, 1 AS sign FROM {source}
        WHERE {ours} AND n.credit_note_status = 'VOIDED' AND {_within("n.voided_at")}
            AND n.finalized_at <= coalesce(i.voided_at, 'infinity') AND n.voided_at <= coalesce(i.voided_at, 'infinity')
        UNION ALL
        SELECT {chosen}, i.voided_at AS at, 1 AS sign FROM {source}
        WHERE {ours} AND i.invoice_status = 'VOIDED' AND {_within("i.voided_at")}
            AND n.finalized_at <= i.voided_at AND coalesce(n.voided_at, 'infinity') > i.voided_at
    """


_LINE_COLUMNS = "CASE WHEN l.entity_type = 'plan' THEN l.entity_id END AS plan_id, l.feature_id, l.meter_id, l.price_id"
_NO_LINE = "NULL AS plan_id, NULL AS feature_id, NULL AS meter_id, NULL AS price_id"
_NET = "(l.amount - l.line_item_discount - l.invoice_level_discount - l.prepaid_credits_applied)"
_TAXABLE = "(l.amount - l.line_item_discount - l.invoice_level_discount)"
_LINES_OF = "l.environment_id = :environment AND l.invoice_id = i.id AND l.status = 'published'"
# the earlier of the reference date and the last instant of the line's period, as taxes are chosen
_TAX_POINT = """
    CASE WHEN l.period_end IS NULL THEN least(i.reference_date, l.period_start)
    ELSE least(i.reference_date, greatest(l.period_end - interval '1 microsecond', l.period_start)) END
"""


def _tax_shares(invoices: str) -> str:
    """The tax of each invoice by line: each rate's split over the nets of the lines that carry it, by largest
    remainder in the smallest unit of the currency; evenly where all of them came to nothing."""
    return f"""
        carriers AS (
            SELECT t.id AS tax_id, i.id AS invoice_id, l.id AS line_id, l.position,
                {currency_digits("i.currency")} AS digits, t.tax_amount, {_TAXABLE} AS net
            FROM invoices AS i
            JOIN taxes_applied AS t ON t.environment_id = :environment AND t.entity_id = i.id
                AND t.status = 'published' AND t.tax_amount <> 0
            JOIN invoice_line_items AS l ON {_LINES_OF}
            WHERE i.environment_id = :environment AND i.id IN (SELECT id FROM {invoices} WHERE total_tax <> 0)
                AND EXISTS (
                SELECT FROM jsonb_array_elements(i.tax_terms) AS term
                WHERE term->>'tax_rate_id' = t.tax_rate_id
                    AND (term->>'start' IS NULL OR CAST(term->>'start' AS timestamptz) <= {_TAX_POINT})
                    AND (term->>'end' IS NULL OR {_TAX_POINT} < CAST(term->>'end' AS timestamptz))
            )
        ),
        weighed AS (
            SELECT *, tax_amount * power(10::numeric, digits) AS units,
                CASE WHEN sum(net) OVER rate = 0 THEN 1 ELSE net END AS weight,
                CASE WHEN sum(net) OVER rate = 0 THEN count(*) OVER rate ELSE sum(net) OVER rate END AS whole
            FROM carriers WINDOW rate AS (PARTITION BY tax_id)
        ),
        floored AS (
            SELECT *, div(units * weight, whole) AS share, mod(units * weight, whole) AS remainder FROM weighed
        ),
        tax_shares AS (
            SELECT tax_id, invoice_id, line_id,
                (share + CASE WHEN row_number() OVER (
                    PARTITION BY tax_id ORDER BY remainder DESC, weight DESC, position, line_id
                ) <= units - sum(share) OVER (PARTITION BY tax_id) THEN 1 ELSE 0 END)
                / power(10::numeric, digits) AS amount
            FROM floored
        )
    """


def _by_line(view: BillingView) -> str:
    """Totals of invoices split over their lines: the net of each line, its tax, and what has no line."""
    columns = ", ".join(f"m.{name.strip().removeprefix('i.')}" for name in _DIMENSIONS.split(","))
    lines = columns.replace("m.", "i.")
    return f"""
        WITH moments AS MATERIALIZED ({_moments(view)}),
        {_tax_shares("moments")}
        SELECT i.at, i.sign * {_NET} AS value, {lines}, {_LINE_COLUMNS}
        FROM moments AS i JOIN invoice_line_items AS l ON {_LINES_OF}
        UNION ALL
        SELECT i.at, i.sign * s.amount, {lines}, {_LINE_COLUMNS}
        FROM moments AS i JOIN tax_shares AS s ON s.invoice_id = i.id
        JOIN invoice_line_items AS l ON {_LINES_OF} AND l.id = s.line_id
        UNION ALL
        SELECT i.at, i.sign * (i.total - i.net_total - coalesce(spread.amount, 0)), {lines}, {_NO_LINE}
        FROM moments AS i
        LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM tax_shares GROUP BY invoice_id) AS spread
            ON spread.invoice_id = i.id
        WHERE i.total <> i.net_total + coalesce(spread.amount, 0)
    """


def _notes_by_line(view: BillingView) -> str:
    return f"""
        SELECT i.at, i.sign * (taken.amount - least(taken.amount, greatest(
            i.returned - (sum(taken.amount) OVER (
                PARTITION BY i.note_id, i.sign ORDER BY taken.amount DESC, taken.id
            ) - taken.amount), 0
        ))) AS value, {_DIMENSIONS}, {_LINE_COLUMNS}
        FROM ({_notes(view)}) AS i
        JOIN credit_note_line_items AS taken ON taken.environment_id = :environment
            AND taken.credit_note_id = i.note_id AND taken.status = 'published'
        JOIN invoice_line_items AS l ON l.environment_id = :environment AND l.id = taken.invoice_line_item_id
    """


async def invoiced(
    session: AsyncSession, question: Question, timeline: Timeline, view: BillingView, *, less_notes: bool
) -> Cells:
    """Totals of invoices, and those of credit notes taken off them if so asked."""
    if question.fields & LINE_DIMENSIONS:
        facts, notes = _by_line(view), _notes_by_line(view)
    else:
        facts = f"SELECT i.at, i.sign * i.total AS value, {_DIMENSIONS} FROM ({_moments(view)}) AS i"
        notes = f"SELECT i.at, i.sign * i.total_amount AS value, {_DIMENSIONS} FROM ({_notes(view)}) AS i"
    return await sums(
        session, question, f"({facts}) UNION ALL ({notes})" if less_notes else facts, timeline, are_within=True
    )


async def invoiced_before_tax(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """As issued and without tax: subtotals less discounts, less credit notes; prepaid credits do not lower it."""
    view = BillingView.AS_ISSUED
    facts = f"""
        SELECT i.at, i.sign * (i.subtotal - i.total_discount) AS value, {_DIMENSIONS} FROM ({_moments(view)}) AS i
        UNION ALL
        SELECT i.at, i.sign * i.net_amount, {_DIMENSIONS} FROM ({_notes(view)}) AS i
    """
    return await sums(session, question, facts, timeline, are_within=True)


async def tax_charged(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """Tax as issued, by rate where that is asked; notes take back what they say by rate."""
    view = BillingView.AS_ISSUED
    facts = f"""
        SELECT i.at, i.sign * t.tax_amount AS value, {_DIMENSIONS}, t.tax_rate_id
        FROM ({_moments(view)}) AS i
        JOIN taxes_applied AS t ON t.environment_id = :environment AND t.entity_id = i.id AND t.status = 'published'
        UNION ALL
        SELECT i.at, i.sign * CAST(part->>'amount' AS numeric), {_DIMENSIONS}, part->>'tax_rate_id'
        FROM ({_notes(view)}) AS i
        JOIN credit_note_line_items AS taken ON taken.environment_id = :environment
            AND taken.credit_note_id = i.note_id AND taken.status = 'published'
        CROSS JOIN LATERAL jsonb_array_elements(taken.taxes) AS part
    """
    return await sums(session, question, facts, timeline, are_within=True)
