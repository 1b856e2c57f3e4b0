"""Revenue of lines that the database can add up: final ones of which nothing was taken back or given for free, and
that bill nothing anew.

Such a line is earned on one day, or evenly on each of its days; one of usage is told from its events only where it
comes to something and a day that is asked about lies within its period. All others have schedules of their own
(`recognized`). A line is either.
Rule: docs/rules/reporting.md#recognition
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import first_instant_at, to_local
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, currency_digits, sums
from farthing.reporting.analytics.periods import Timeline
from farthing.reporting.revenue.lines import REPLACEMENTS, LineCondition
from farthing.reporting.revenue.recognition import LIVE

_DAY = timedelta(days=1)
DAYS_AROUND = 400
"""How long before and after the time that is asked about a line's period may begin and end."""


def _day_of(moment: str) -> str:
    """The number of the day, as the books' clocks show it, on which a moment lies; 0 before the first one known."""
    return f"width_bucket({moment}, CAST(:days AS timestamptz[]))"


def _is_known(moment: str) -> str:
    """Whether a moment lies on a day that has a number."""
    return f"({moment} >= :first_day AND {moment} < :after_days)"


_NET = "(l.amount - l.line_item_discount - l.invoice_level_discount)"
_START = _day_of("coalesce(l.period_start, i.finalized_at)")
_LAST = _day_of("greatest(l.period_end - interval '1 microsecond', l.period_start)")
_HAS_PERIOD = "coalesce(l.period_end > l.period_start, false)"
_IS_METERED = f"""
    (l.kind = 'usage' AND l.meter_id <> '' AND l.subscription_line_item_id <> '' AND {_HAS_PERIOD}) IS TRUE
"""
_IS_ADJUSTMENT = "(l.kind IN ('true_up', 'overage')) IS TRUE"
_TAKEN_BACK = """
    SELECT n.invoice_id FROM credit_notes AS n
    WHERE n.environment_id = :environment AND n.status = 'published' AND n.finalized_at IS NOT NULL
"""
# invoices that credits paid for, which may have been given for nothing
_WITH_CREDITS = """
    SELECT coalesce(payment.destination_id, debit.reference_id) FROM wallet_transactions AS debit
    LEFT JOIN payments AS payment ON payment.environment_id = :environment AND payment.id = debit.reference_id
    WHERE debit.environment_id = :environment AND debit.type = 'debit'
        AND debit.transaction_reason IN ('CREDIT_ADJUSTMENT', 'INVOICE_PAYMENT')
        AND coalesce(payment.destination_id, debit.reference_id) IS NOT NULL
"""
_IS_PLAIN = f"""
    coalesce(
        i.invoice_status = 'FINALIZED' AND i.finalized_at IS NOT NULL AND i.voided_at IS NULL
        AND {_is_known("coalesce(l.period_start, i.finalized_at)")}
        AND (NOT {_HAS_PERIOD} OR {_is_known("l.period_end")})
        AND NOT ({_IS_METERED} AND {_NET} <> 0
            AND width_bucket({_START}, CAST(:marks AS int[])) <> width_bucket({_LAST}, CAST(:marks AS int[])))
        AND i.id NOT IN ({_TAKEN_BACK})
        AND i.id NOT IN ({REPLACEMENTS})
        AND i.id NOT IN ({_WITH_CREDITS}),
        false
    )
"""
# a line's first day, and on how many days in a row it is earned
_PLAIN = f"""
    SELECT i.finalized_at, {_NET} AS net,
        {currency_digits("i.currency")} AS digits,
        CASE WHEN {_IS_METERED} OR {_IS_ADJUSTMENT} AND {_HAS_PERIOD} THEN {_LAST} ELSE {_START} END AS start_day,
        CASE WHEN {_IS_METERED} OR {_IS_ADJUSTMENT} OR NOT {_HAS_PERIOD} THEN 1
            ELSE least(greatest({_day_of("l.period_end")} - {_START}, 1), {_LAST} - {_START} + 1) END AS day_count,
        i.customer_id, l.subscription_id, l.price_id, l.meter_id, i.currency
    FROM invoices AS i
    JOIN invoice_line_items AS l ON l.environment_id = :environment AND l.invoice_id = i.id AND l.status = 'published'
    WHERE i.environment_id = :environment AND i.status = 'published' AND i.invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
        AND ({LIVE}) AND {_IS_PLAIN}
"""
_COLUMNS = "customer_id, subscription_id, price_id, meter_id, currency"


def _earned(number: str) -> str:
    """What of a plain line is earned before the day of a mark."""
    return f"""
        CASE WHEN {number} < earned_from THEN 0 WHEN {number} >= earned_by THEN net
            ELSE round(CAST(net * ((CAST(:marks AS int[]))[{number} + 1] - start_day) AS numeric(60, 20)) / day_count,
                digits) END
    """


# `earned_from` and `earned_by`: the marks before which nothing, and from which on all of a line is earned. OFFSET 0
# keeps what is worked out of a line from being worked out anew wherever it is named
_MARKED = f"""
    FROM (
        SELECT *, width_bucket(start_day, CAST(:marks AS int[])) AS earned_from,
            width_bucket(start_day + day_count - 1, CAST(:marks AS int[])) AS earned_by,
            width_bucket(finalized_at, CAST(:edges AS timestamptz[])) AS billed_from
        FROM ({_PLAIN} OFFSET 0) AS plain
        OFFSET 0
    ) AS marked
"""
# a set in the list of columns costs a fraction of one that is joined line by line
_RECOGNIZED = f"""
    SELECT (CAST(:edges AS timestamptz[]))[bucket + 1] AS at, {_earned("(bucket + 1)")} - {_earned("bucket")} AS value,
        {_COLUMNS}
    FROM (
        SELECT *, generate_series(greatest(earned_from - 1, 0), least(earned_by, :buckets) - 1) AS bucket {_MARKED}
    ) AS numbered
"""
_STANDING = f"""
    SELECT (CAST(:edges AS timestamptz[]))[number] AS at,
        CASE WHEN number >= billed_from THEN net ELSE 0 END AS billed, {_earned("number")} AS earned, {_COLUMNS}
    FROM (
        SELECT *, generate_series(
            greatest(least(billed_from, earned_from), 1), least(greatest(billed_from, earned_by) - 1, :buckets)
        ) AS number
        {_MARKED}
    ) AS numbered
"""


DayMarks = Mapping[str, Any]
"""What statements about plain lines are sent of the time that is asked about."""


def day_marks(timeline: Timeline, zone: ZoneInfo, now: datetime) -> DayMarks:
    """The days around the time that is asked about, and the day of each edge; a day ahead of today is tomorrow."""
    first = to_local(timeline.start, zone).date() - DAYS_AROUND * _DAY
    after = to_local(timeline.end, zone).date() + DAYS_AROUND * _DAY
    tomorrow = to_local(now, zone).date() + _DAY
    days = [first + number * _DAY for number in range((after - first).days + 1)]
    edges = [min(to_local(edge, zone).date(), tomorrow) for edge in timeline.edges]
    return {
        "days": [first_instant_at(datetime.combine(day, time()), zone) for day in days],
        "first_day": first_instant_at(datetime.combine(days[0], time()), zone),
        "after_days": first_instant_at(datetime.combine(days[-1], time()), zone),
        "marks": [_number(edge, first) for edge in edges],
        "buckets": len(timeline.edges) - 1,
    }


def _number(day: date, first: date) -> int:
    return (day - first).days + 1


def not_plain(marks: DayMarks) -> LineCondition:
    """The condition of the lines that the database does not add up for this time."""
    return LineCondition(
        f"NOT {_IS_PLAIN}", {name: marks[name] for name in ("days", "first_day", "after_days", "marks")}
    )


async def plain_recognized(session: AsyncSession, question: Question, timeline: Timeline, marks: DayMarks) -> Cells:
    """What of plain lines was recognized in each bucket."""
    facts = f"SELECT * FROM ({_RECOGNIZED}) AS recognized WHERE value <> 0"
    return await sums(session, question, facts, timeline, given=marks, are_within=True)


async def plain_standing(
    session: AsyncSession, question: Question, timeline: Timeline, marks: DayMarks, *, is_deferred: bool
) -> Cells:
    """What of plain lines was billed ahead at the end of each bucket, or earned and not billed."""
    ahead, behind = ("billed", "earned") if is_deferred else ("earned", "billed")
    facts = f"""
        SELECT at, {ahead} - {behind} AS value, {_COLUMNS} FROM ({_STANDING}) AS standing WHERE {ahead} > {behind}
    """
    return await sums(session, question, facts, timeline, given=marks, are_within=True)
