"""What customers owed at any moment, how old it was, and how long they took to pay.

An invoice owes from the moment it is final until it is void: its total, less the adjustments, the settlements and what
was written off until then. Each event opens an interval in which what it owes stands still.
Rule: docs/rules/reporting.md#receivables-at-any-moment
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.reporting.analytics.catalogue import AGE
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, sums, totals_at_ends
from farthing.reporting.analytics.periods import Timeline

AGES = (
    ("not_due", "'-infinity'", "due"),
    ("1_30", "due", "due + interval '720 hours'"),
    ("31_60", "due + interval '720 hours'", "due + interval '1440 hours'"),
    ("61_90", "due + interval '1440 hours'", "due + interval '2160 hours'"),
    ("over_90", "due + interval '2160 hours'", "'infinity'"),
)
"""Names of ages, and between which moments an unpaid invoice has them; the first moment is not included."""

_COLUMNS = "customer_id, subscription_id, currency, invoice_type, billing_reason"

_OF_CANDIDATE = ", ".join(f"c.{name}" for name in _COLUMNS.split(", "))

# invoices that were settled, or void, before the first moment that is asked about owe nothing at any of them
_CANDIDATES = f"""
    candidates AS MATERIALIZED (
        SELECT id, total, finalized_at, coalesce(voided_at, 'infinity') AS voided_at,
            coalesce(due_date, 'infinity') AS due, {_COLUMNS}
        FROM invoices
        WHERE environment_id = :environment AND status = 'published' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
            AND total > 0 AND finalized_at < :until
            AND (invoice_status = 'FINALIZED' OR invoice_status = 'VOIDED' AND voided_at >= :first_end)
            AND (paid_at IS NULL OR paid_at >= :first_end OR amount_remaining > 0)
    ),
    reductions AS MATERIALIZED (
        SELECT c.id, greatest(s.created_at, c.finalized_at) AS at, 0 AS taken_off, s.amount AS paid, 0 AS lost,
            c.total, {_OF_CANDIDATE}
        FROM candidates AS c
        JOIN invoice_settlements AS s ON s.environment_id = :environment AND s.invoice_id = c.id
        UNION ALL
        SELECT c.id, greatest(noted.at, c.finalized_at), noted.amount, 0, 0, c.total, {_OF_CANDIDATE}
        FROM candidates AS c
        JOIN credit_notes AS n ON n.environment_id = :environment AND n.invoice_id = c.id
            AND n.status = 'published' AND n.finalized_at IS NOT NULL AND n.credit_note_type = 'ADJUSTMENT'
        CROSS JOIN LATERAL (
            VALUES (n.finalized_at, n.total_amount), (n.voided_at, -n.total_amount)
        ) AS noted (at, amount)
        WHERE noted.at IS NOT NULL
        UNION ALL
        SELECT c.id, w.created_at, 0, 0, w.amount, c.total, {_OF_CANDIDATE}
        FROM candidates AS c
        JOIN invoice_write_offs AS w ON w.environment_id = :environment AND w.invoice_id = c.id
    )
"""


def _intervals(invoices: str) -> str:
    """What each of these invoices owed between one event and the next."""
    return f"""
        SELECT s.at AS since, least(s.next_at, c.voided_at) AS before, c.due,
            {_OF_CANDIDATE},
            greatest(greatest(c.total - s.taken_off, 0) - s.paid - s.lost, 0) AS owed
        FROM (
            SELECT id, at, lead(at, 1, 'infinity') OVER invoice AS next_at,
                sum(taken_off) OVER invoice AS taken_off, sum(paid) OVER invoice AS paid,
                sum(lost) OVER invoice AS lost
            FROM (
                SELECT id, finalized_at AS at, 0 AS taken_off, 0 AS paid, 0 AS lost FROM {invoices}
                UNION ALL
                SELECT r.id, r.at, r.taken_off, r.paid, r.lost FROM reductions AS r JOIN {invoices} USING (id)
            ) AS events
            WINDOW invoice AS (PARTITION BY id ORDER BY at ROWS UNBOUNDED PRECEDING)
        ) AS s JOIN {invoices} AS c ON c.id = s.id
    """


def _changes() -> str:
    """Of most invoices no more was taken than they ask for: each event lowers what they owe by its own amount. Only
    what became void, or of what more was taken, is followed from event to event."""
    taken = "greatest(taken_off, 0) + greatest(paid, 0) + greatest(lost, 0)"
    return f"""
        WITH {_CANDIDATES},
        unusual AS MATERIALIZED (
            SELECT id FROM candidates WHERE voided_at <> 'infinity'
            UNION
            SELECT id FROM reductions GROUP BY id HAVING sum({taken}) > max(total)
        ),
        followed AS (SELECT * FROM candidates WHERE id IN (SELECT id FROM unusual))
        SELECT finalized_at AS at, total AS value, {_COLUMNS} FROM candidates
        WHERE id NOT IN (SELECT id FROM unusual)
        UNION ALL
        SELECT at, -(taken_off + paid + lost), {_COLUMNS} FROM reductions
        WHERE id NOT IN (SELECT id FROM unusual)
        UNION ALL
        SELECT change.at, change.value, {_COLUMNS}
        FROM ({_intervals("followed")}) AS interval
        CROSS JOIN LATERAL (VALUES (since, owed), (before, -owed)) AS change (at, value)
        WHERE owed <> 0 AND since < before
    """


def _changes_by_age() -> str:
    """An age begins after its first moment; one that would begin or end now or later has not done so yet."""
    ages = ", ".join(
        f"('{name}', CAST({begin} AS timestamptz), CAST({end} AS timestamptz))" for name, begin, end in AGES
    )
    return f"""
        WITH {_CANDIDATES}
        SELECT change.at, change.value, {_COLUMNS}, age.name AS {AGE}
        FROM ({_intervals("candidates")}) AS interval
        CROSS JOIN LATERAL (VALUES {ages}) AS age (name, begun, ended)
        CROSS JOIN LATERAL (VALUES
            (greatest(since, begun), owed, begun >= since),
            (least(before, ended), -owed, ended <= before)
        ) AS change (at, value, is_ageing)
        WHERE owed <> 0 AND since < before AND greatest(since, begun) <= least(before, ended)
            AND NOT (change.is_ageing AND change.at >= :now)
    """


async def receivables(session: AsyncSession, question: Question, timeline: Timeline, now: datetime) -> Cells:
    """What was unpaid at the end of each bucket, or is now where that lies ahead."""
    changes = _changes_by_age() if AGE in question.fields else _changes()
    given = {"first_end": timeline.ends[0], **({"now": now} if AGE in question.fields else {})}
    return await totals_at_ends(session, question, changes, timeline, given)


_LOST = """
    SELECT w.created_at AS at, w.amount AS value, i.customer_id, i.subscription_id, i.currency, i.invoice_type,
        i.billing_reason
    FROM invoice_write_offs AS w JOIN invoices AS i ON i.id = w.invoice_id
    WHERE w.environment_id = :environment AND w.created_at >= :since AND w.created_at < :until
"""


async def written_off(session: AsyncSession, question: Question, timeline: Timeline) -> Cells:
    """What was written off in each bucket, less what was paid, credited, voided or taken back of that."""
    return await sums(session, question, _LOST, timeline)


_PAID = """
    SELECT paid_at AS at, extract(epoch FROM paid_at - finalized_at) AS value, customer_id, subscription_id, currency,
        invoice_type, billing_reason, payment_status
    FROM invoices
    WHERE environment_id = :environment AND status = 'published' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
        AND invoice_status = 'FINALIZED' AND total > 0 AND paid_at >= :since AND paid_at < :until
"""


async def seconds_to_pay(session: AsyncSession, question: Question, timeline: Timeline) -> tuple[Cells, Cells]:
    """How many seconds the invoices that became fully paid in each bucket took together, and how many there were."""
    return (
        await sums(session, question, _PAID, timeline),
        await sums(session, question, _PAID, timeline, value="count(*)"),
    )
