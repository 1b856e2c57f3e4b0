"""The table that answers a question: every metric measured in one snapshot, lined up by bucket and group.

Rule: docs/rules/reporting.md#answers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.clock import FIRST_INSTANT, instant
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.money import ZERO, plain, round_to
from farthing.reporting.analytics.catalogue import AGE, CURRENCY, MetricKind, MetricUnit, ReportMetric
from farthing.reporting.analytics.definition import TIME, Question, SortOrder
from farthing.reporting.analytics.metrics import billed, money_flows, owed, recurring_books, usage_metrics
from farthing.reporting.analytics.metrics.active_customers import active_customers
from farthing.reporting.analytics.metrics.billed import BillingView
from farthing.reporting.analytics.metrics.facts import MOST_ROWS, Cells, Group
from farthing.reporting.analytics.metrics.monthly_revenue import MovementKind
from farthing.reporting.analytics.metrics.recognized import (
    RecognitionBooks,
    RevenueStanding,
    recognized_revenue,
    standing_at_ends,
)
from farthing.reporting.analytics.metrics.recurring_books import RecurringBooks
from farthing.reporting.analytics.periods import Timeline
from farthing.reporting.analytics.schemas import (
    AnalyticsColumn,
    AnalyticsColumnRole,
    AnalyticsColumnType,
    AnalyticsQueryMeta,
    AnalyticsQueryResponse,
    MetricFamily,
    ReportShape,
)
from farthing.reporting.turns import owner_of_reports

RATIO_DIGITS = 2
"""Digits of days and of percentages."""
_SECONDS_OF_A_DAY = 86_400
_AGES = {name: rank for rank, (name, _, _) in enumerate(owed.AGES)}

Measures = Mapping[tuple[int, Group], Decimal | None]
"""The value of a metric by the number of a bucket and by group; None is a ratio to nothing."""


@dataclass(slots=True)
class AnsweredRow:
    """One row before it is written: the bucket's start if there is one, the group, and values by column."""

    start: datetime | None
    group: Group
    values: dict[str, Decimal | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnsweredTable:
    """All rows that answer a question, in their order."""

    question: Question
    timeline: Timeline
    previous: Timeline | None
    rows: Sequence[AnsweredRow]

    def columns(self) -> list[AnalyticsColumn]:
        """The columns as they travel."""
        dimension = AnalyticsColumnRole.DIMENSION
        named = [
            AnalyticsColumn(
                name=name,
                role=dimension,
                type=AnalyticsColumnType.DATETIME if name == TIME else AnalyticsColumnType.STRING,
            )
            for name in self.question.row_columns
        ]
        measured = [
            AnalyticsColumn(
                name=name,
                role=AnalyticsColumnRole.METRIC,
                type=AnalyticsColumnType.DECIMAL,
                currency=self.question.currency if metric.is_money and not name.endswith("_percent") else None,
            )
            for metric in self.question.metrics
            for name in self.question.metric_columns(metric)
        ]
        return named + measured

    def text_of(self, row: AnsweredRow) -> list[str]:
        """The cells of a row as they travel."""
        start = [instant(row.start)] if row.start is not None else []
        values = [row.values.get(name) for name in self.question.columns[len(self.question.row_columns) :]]
        return [*start, *row.group, *("" if value is None else plain(value) for value in values)]

    def response(self) -> AnalyticsQueryResponse:
        """The answer, cut at the limit of the question."""
        question = self.question
        shown = self.rows[: question.limit]
        previous = self.previous
        usage = question.metrics[0].family is MetricFamily.USAGE
        return AnalyticsQueryResponse(
            columns=self.columns(),
            rows=[self.text_of(row) for row in shown],
            meta=AnalyticsQueryMeta(
                from_=instant(self.timeline.start),
                to=instant(self.timeline.end),
                prev_from=instant(previous.start) if previous else None,
                prev_to=instant(previous.end) if previous else None,
                query_source="events" if usage else "books",
                truncated=len(shown) < len(self.rows),
                row_count=len(shown),
            ),
        )


async def answer_question(
    session: AsyncSession, question: Question, now: datetime, recurring: RecurringBooks | None = None
) -> AnsweredTable:
    """Measure every metric of a question. The session is one snapshot. Raises ValidationFailed for too many rows.

    Who asks several questions at once hands in the `recurring` books, which are read for the first of them alone.
    """
    timeline = question.range.timeline(question.grain)
    earlier = None if question.comparison is None else question.range.compared_with(question.comparison)
    previous = None if earlier is None else earlier.timeline(question.grain)
    reading = _Reading(
        session, question, now, recurring or RecurringBooks(session, now), RecognitionBooks(session, now)
    )
    present = {metric.key: await reading.measure(metric, timeline) for metric in question.metrics}
    past: dict[str, Measures] = {}
    if previous is not None:
        past = {metric.key: await reading.measure(metric, previous) for metric in question.metrics}
    numbers = {start: number for number, start in enumerate(timeline.starts)}

    def filled() -> Iterator[AnsweredRow]:
        for row in _rows(question, timeline, present, past, now):
            for metric in question.metrics:
                _fill(row, metric, question, present, past, 0 if row.start is None else numbers[row.start])
            yield row

    rows = await collect(filled(), reading.owner)
    return AnsweredTable(question, timeline, previous, _in_order(question, rows))


@dataclass(slots=True)
class _Reading:
    """Measures metrics of one question."""

    session: AsyncSession
    question: Question
    now: datetime
    books: RecurringBooks
    recognition: RecognitionBooks

    @property
    def owner(self) -> str:
        return owner_of_reports(self.session)

    async def measure(self, metric: ReportMetric, timeline: Timeline) -> Measures:
        """The values of a metric; snapshots are left out where their bucket lies ahead."""
        if metric.family is not MetricFamily.REPORT:
            return await self._flow(metric.key, timeline)
        measured = await self._figure(metric, timeline)
        return {cell: value for cell, value in measured.items() if timeline.edges[cell[0]] <= self.now}

    async def _flow(self, key: str, timeline: Timeline) -> Cells:
        session, question = self.session, self.question
        match key:
            case "invoice_total" | "invoice_total_issued" | "net_billing" | "net_billing_issued":
                view = BillingView.AS_ISSUED if key.endswith("_issued") else BillingView.BY_PERIOD
                less_notes = key.startswith("net_")
                return await billed.invoiced(session, question, timeline, view, less_notes=less_notes)
            case "tax_charged":
                return await billed.tax_charged(session, question, timeline)
            case "collected":
                return await money_flows.collected(session, question, timeline)
            case "refunded":
                return await money_flows.refunded(session, question, timeline)
            case "written_off":
                return await owed.written_off(session, question, timeline)
            case "credit_topups":
                return await money_flows.credits_sold(session, question, timeline)
            case "credit_consumption":
                return await money_flows.credits_used(session, question, timeline)
            case "credits_expired":
                return await money_flows.credits_expired(session, question, timeline)
            case "recognized_revenue":
                return await recognized_revenue(self.recognition, question, timeline)
            case "usage_quantity":
                return await usage_metrics.usage_quantity(session, question, timeline)
            case "event_count":
                return await usage_metrics.events_metered(session, question, timeline)
            case "events_volume":
                return await usage_metrics.events_volume(session, question, timeline)
        kind = MovementKind(key.removeprefix("mrr_"))
        return await recurring_books.movements(self.books, question, timeline, kind)

    async def _figure(self, metric: ReportMetric, timeline: Timeline) -> Measures:
        session, question = self.session, self.question
        match metric.key:
            case "total_receivables" | "receivables_aging":
                return await owed.receivables(session, question, timeline, self.now)
            case "days_to_pay":
                seconds, count = await owed.seconds_to_pay(session, question, timeline)
                return await _ratio(self.owner, seconds, count, Fraction(1, _SECONDS_OF_A_DAY))
            case "active_customers":
                return await active_customers(session, question, timeline, self.now)
            case "arpu":
                invoiced = await billed.invoiced_before_tax(session, question, timeline)
                return await _ratio(self.owner, invoiced, await active_customers(session, question, timeline, self.now))
            case "arpu_paid":
                kept = await money_flows.kept_money(session, question, timeline)
                return await _ratio(self.owner, kept, await money_flows.paying_customers(session, question, timeline))
            case "deferred_revenue" | "unbilled_revenue":
                standing = RevenueStanding(metric.key.removesuffix("_revenue"))
                return await standing_at_ends(self.recognition, question, timeline, standing)
            case "mrr" | "arr":
                monthly = await recurring_books.monthly_revenue(self.books, question, timeline)
                times = 1 if metric.key == "mrr" else 12
                return {cell: value * times for cell, value in monthly.items()}
            case "gross_churn_rate" | "net_revenue_retention":
                before, after, lost = await recurring_books.retained(self.books, question, timeline)
                return await _ratio(
                    self.owner, lost if metric.key == "gross_churn_rate" else after, before, Fraction(100)
                )
        raise AssertionError(f"{metric.key} is in the catalogue and measured nowhere")


async def _ratio(owner: str, parts: Cells, wholes: Cells, times: Fraction = Fraction(1)) -> Measures:
    """Each part by its whole, many digits; where there is a part and no whole, nothing can be said."""
    ratios: dict[tuple[int, Group], Decimal | None] = dict.fromkeys(parts)
    divided = (
        (cell, round_to(Fraction(parts.get(cell, ZERO)) / Fraction(whole) * times, 30))
        for cell, whole in wholes.items()
        if whole
    )
    ratios.update(await collect(divided, owner))
    return ratios


def _rows(
    question: Question,
    timeline: Timeline,
    present: Mapping[str, Measures],
    past: Mapping[str, Measures],
    now: datetime,
) -> Iterator[AnsweredRow]:
    """A row for each bucket and group; without dimensions there is one group, whether or not it has anything."""
    found = {group for measures in (*present.values(), *past.values()) for _, group in measures}
    groups: Sequence[Group] = sorted(found) if question.dimensions else [()]
    starts: Sequence[datetime | None] = [None]
    if question.grain is not None:
        ahead = question.metrics[0].family is MetricFamily.REPORT
        starts = [
            start for start, edge in zip(timeline.starts, timeline.edges, strict=False) if not ahead or edge <= now
        ]
    if len(starts) * len(groups) > MOST_ROWS:
        raise ValidationFailed.of("dimensions", f"would make more than {MOST_ROWS:,} rows; ask for less at a time")
    return (AnsweredRow(start, group) for start in starts for group in groups)


def _fill(
    row: AnsweredRow,
    metric: ReportMetric,
    question: Question,
    present: Mapping[str, Measures],
    past: Mapping[str, Measures],
    bucket: int,
) -> None:
    """Write the values of a metric into the row of a bucket, rounded as they are shown."""
    digits = _digits(metric, question, row.group)
    value = _shown(metric, present[metric.key].get((bucket, row.group), _absent(metric)), digits)
    row.values[metric.key] = value
    if question.comparison is None:
        return
    before = _shown(metric, past[metric.key].get((bucket, row.group), _absent(metric)), digits)
    row.values[f"{metric.key}_prev"] = before
    changed = None
    if value is not None and before:
        changed = round_to((Fraction(value) - Fraction(before)) / abs(Fraction(before)) * 100, RATIO_DIGITS)
    row.values[f"{metric.key}_change_percent"] = changed


def _absent(metric: ReportMetric) -> Decimal | None:
    """What a metric is where nothing was found."""
    return None if metric.kind is MetricKind.RATIO else ZERO


def _digits(metric: ReportMetric, question: Question, group: Group) -> int | None:
    """To how many digits a metric is shown; None for all that it has."""
    match metric.unit:
        case MetricUnit.MONEY:
            code = question.currency or dict(zip(question.dimensions, group, strict=True)).get(CURRENCY, "")
            return currency.digits(code)
        case MetricUnit.DAYS | MetricUnit.PERCENT:
            return RATIO_DIGITS
    return None


def _shown(metric: ReportMetric, value: Decimal | None, digits: int | None) -> Decimal | None:
    if value is None or digits is None:
        return value
    if metric.key in {"credit_topups", "credit_consumption", "credits_expired"}:
        return value  # the value of credits has more digits than the currency, and is not rounded by anybody
    return round_to(value, digits)


# order


def _in_order(question: Question, rows: list[AnsweredRow]) -> list[AnsweredRow]:
    """By what was asked; then, or else, by time and dimensions. A breakdown shows the largest first, a currency at a
    time, unless it is of ages."""
    ordered = sorted(rows, key=lambda row: (row.start is not None and row.start, row.group))
    order = question.order
    if not order and question.shape is ReportShape.BREAKDOWN:
        if AGE in question.dimensions:
            place = question.dimensions.index(AGE)
            return sorted(ordered, key=lambda row: _AGES.get(row.group[place], len(_AGES)))
        order = (SortOrder(question.metrics[0].key, descending=True),)
        if CURRENCY in question.dimensions:
            order = (SortOrder(CURRENCY, descending=False), *order)
    for wanted in reversed(order):
        ordered = _sorted_by(question, ordered, wanted)
    return ordered


def _sorted_by(question: Question, rows: Sequence[AnsweredRow], wanted: SortOrder) -> list[AnsweredRow]:
    """Rows by one column, those of equal value as they stood; what has no value comes last either way."""
    if wanted.column == TIME:
        return sorted(rows, key=lambda row: row.start or FIRST_INSTANT, reverse=wanted.descending)
    if wanted.column in question.dimensions:
        place = question.dimensions.index(wanted.column)
        return sorted(rows, key=lambda row: row.group[place], reverse=wanted.descending)
    known = [row for row in rows if row.values.get(wanted.column) is not None]
    unknown = [row for row in rows if row.values.get(wanted.column) is None]
    return [
        *sorted(known, key=lambda row: row.values[wanted.column] or ZERO, reverse=wanted.descending),
        *unknown,
    ]
