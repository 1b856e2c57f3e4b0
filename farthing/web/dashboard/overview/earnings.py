"""What the company earns, as its first page shows it: each figure is one of the analytics, asked as over the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import ZERO
from farthing.reporting.analytics.catalogue import CURRENCY, METRICS
from farthing.reporting.analytics.definition import read_definition
from farthing.reporting.analytics.engine import AnsweredTable, answer_question
from farthing.reporting.analytics.metrics.recurring_books import RecurringBooks
from farthing.reporting.analytics.periods import Grain, RangeComparison
from farthing.reporting.analytics.schemas import AnalyticsTimeSpecRaw, AnalyticsViewDefinition, ReportShape

REVENUE: tuple[str, ...] = ("net_billing_issued", "collected")
RECURRING: tuple[str, ...] = ("mrr", "net_revenue_retention")
MRR_MOVEMENTS: tuple[str, ...] = ("mrr_new", "mrr_expansion", "mrr_reactivation", "mrr_contraction", "mrr_churn")
"""Why recurring revenue moves: three ways up, two ways down."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure, what it was in the period before, and by how much that changed, in per cent."""

    value: Decimal | None
    before: Decimal | None
    change_percent: Decimal | None


@dataclass(slots=True)
class Earnings:
    """What was earned in one currency."""

    figures: dict[str, Compared] = field(default_factory=dict)
    months: dict[str, list[tuple[datetime, Decimal]]] = field(default_factory=dict)

    def figure(self, key: str) -> Compared:
        return self.figures.get(key, Compared(None, None, None))

    def by_month(self, key: str) -> list[tuple[datetime, Decimal]]:
        return self.months.get(key, [])

    @property
    def has_recurring(self) -> bool:
        keys = ("mrr", *MRR_MOVEMENTS)
        return any(self.figure(key).value or self.figure(key).before for key in keys)


async def earnings_by_currency(
    session: AsyncSession, first: date, last: date, zone: ZoneInfo, now: datetime
) -> dict[str, Earnings]:
    """What was invoiced and collected in these days, and how recurring revenue moved, by currency."""
    found: dict[str, Earnings] = {}
    books = RecurringBooks(session, now)
    for keys in (REVENUE, RECURRING, MRR_MOVEMENTS):
        table = await _ask(session, books, keys, first, last, zone, by_month=False)
        for row in table.rows:
            (code,) = row.group
            figures = found.setdefault(code, Earnings()).figures
            for key in keys:
                figures[key] = Compared(*(row.values.get(name) for name in table.question.metric_columns(METRICS[key])))
    for keys in (REVENUE, RECURRING[:1]):
        table = await _ask(session, books, keys, first, last, zone, by_month=True)
        for row in table.rows:
            (code,) = row.group
            months = found.setdefault(code, Earnings()).months
            for key in keys:
                if row.start is not None:
                    months.setdefault(key, []).append((row.start.astimezone(zone), row.values.get(key) or ZERO))
    return found


async def _ask(
    session: AsyncSession,
    books: RecurringBooks,
    keys: Sequence[str],
    first: date,
    last: date,
    zone: ZoneInfo,
    *,
    by_month: bool,
) -> AnsweredTable:
    """Metrics by currency: by month, or over all of the days and compared with those before."""
    definition = AnalyticsViewDefinition(
        metrics=list(keys),
        shape=ReportShape.TIMESERIES if by_month else ReportShape.BREAKDOWN,
        dimensions=[CURRENCY],
        time=AnalyticsTimeSpecRaw(range=f"{first}..{last + _DAY}", grain=Grain.MONTH if by_month else None),
        compare=None if by_month else RangeComparison.PREVIOUS_PERIOD,
    )
    return await answer_question(session, read_definition(definition, None, zone, books.now), books.now, books)
