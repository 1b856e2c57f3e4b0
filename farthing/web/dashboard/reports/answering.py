"""The table of a report: the engine's answers for its metrics, lined up by period and by what rows are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.reporting.analytics.catalogue import AGE, CURRENCY, LABELS, MetricKind, MetricUnit, ReportMetric
from farthing.reporting.analytics.engine import AnsweredTable, answer_question
from farthing.web.dashboard.reports.asking import ReportQuestion
from farthing.web.dashboard.reports.names import NamedThing, names_for
from farthing.web.rendering.words import wording

Group = tuple[str, ...]
_CHANGE = "_change_percent"


@dataclass(frozen=True, slots=True)
class ReportHead:
    """The head of a column, and what its figures mean."""

    label: str
    meaning: str = ""
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class ReportCell:
    """A cell: what a page shows, what a file holds, and where it leads."""

    shown: str
    plain: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row: when, of what, in which currency, and its figures in the order of the columns."""

    start: datetime | None
    group: Group
    currency: str
    named: tuple[ReportCell, ...]
    figures: tuple[ReportCell, ...]
    values: tuple[Decimal | None, ...]

    @property
    def cells(self) -> tuple[ReportCell, ...]:
        return (*self.named, *self.figures)


@dataclass(frozen=True, slots=True)
class ReportTable:
    """What answers a report; `totals` are sums of a currency's rows, where rows may be added."""

    heads: Sequence[ReportHead]
    rows: Sequence[ReportRow]
    totals: Sequence[ReportRow]

    @property
    def currencies(self) -> list[str]:
        return sorted({row.currency for row in self.rows} - {""})


@dataclass(frozen=True, slots=True)
class FigureColumn:
    """A column of figures: of which metric, and which of its values."""

    metric: ReportMetric
    name: str
    head: ReportHead


async def answer_report(
    session: AsyncSession, asked: ReportQuestion, zone: ZoneInfo, now: datetime, may_read: Callable[[str], bool]
) -> ReportTable:
    """Ask the engine about each metric and line its answers up. Raises ValidationFailed."""
    questions = asked.questions(zone, now)
    tables = [await answer_question(session, question, now) for question in questions]
    columns, values = _spread(tables[0]) if asked.page.spreads_ages else _side_by_side(asked, tables, now)
    dimensions = [name for name in questions[0].dimensions if not (name == AGE and asked.page.spreads_ages)]
    names = {
        dimension: await names_for(session, dimension, {group[place] for _, group in values}, may_read)
        for place, dimension in enumerate(dimensions)
        if dimension != CURRENCY
    }
    rows = [_row(asked, zone, dimensions, names, columns, *key, figures) for key, figures in values.items()]
    heads = [
        *([ReportHead("Period")] if asked.grain else []),
        *(ReportHead(LABELS[dimension]) for dimension in dimensions),
        *(column.head for column in columns),
    ]
    sums = _totals(asked, columns, rows, len(heads) - len(columns))
    return ReportTable(heads, rows, sums)


Values = dict[tuple[datetime | None, Group], dict[str, Decimal | None]]


def _side_by_side(
    asked: ReportQuestion, tables: Sequence[AnsweredTable], now: datetime
) -> tuple[list[FigureColumn], Values]:
    """The metrics as columns; a row of any of them is a row, in which the others come to nothing."""
    of_metric = {metric.key: table.question for table in tables for metric in table.question.metrics}
    columns = [
        FigureColumn(metric, name, _head(metric, name))
        for metric in asked.page.metrics
        for name in of_metric[metric.key].metric_columns(metric)
    ]
    values: Values = {}
    for table in tables:
        for row in table.rows:
            values.setdefault((row.start, row.group), {}).update(row.values)
    for (start, _), figures in values.items():
        for column in columns:
            is_known = column.metric.kind is MetricKind.FLOW or start is None or start <= now
            if column.name == column.metric.key and column.metric.kind is not MetricKind.RATIO and is_known:
                figures.setdefault(column.name, ZERO)
    if len(tables) > 1 and asked.grain:
        values = dict(sorted(values.items(), key=lambda item: (item[0][0] or now, item[0][1])))
    return columns, values


def _head(metric: ReportMetric, name: str) -> ReportHead:
    if name.endswith("_prev"):
        return ReportHead("Before", f"{metric.name} of the period that it is compared with.", is_number=True)
    if name.endswith(_CHANGE):
        return ReportHead("Change", "By how much it changed, in per cent of what it was.", is_number=True)
    return ReportHead(metric.name, metric.description, is_number=True)


def _spread(table: AnsweredTable) -> tuple[list[FigureColumn], Values]:
    """What is owed with a column for each age and one for all of it."""
    metric = table.question.metrics[0]
    place = table.question.dimensions.index(AGE)
    ages = [FigureColumn(metric, age, ReportHead(name, is_number=True)) for age, name in wording.AGE_NAMES.items()]
    values: Values = {}
    for row in table.rows:
        group = (*row.group[:place], *row.group[place + 1 :])
        owed = row.values[metric.key] or ZERO
        figures = values.setdefault((row.start, group), {**dict.fromkeys(wording.AGE_NAMES, ZERO), "all": ZERO})
        figures[row.group[place]] = owed
        figures["all"] = EXACT.add(figures["all"] or ZERO, owed)
    in_order = sorted(values.items(), key=lambda item: (item[0][1][-1:], -(item[1]["all"] or ZERO), item[0][1]))
    return [*ages, FigureColumn(metric, "all", ReportHead("All", metric.description, is_number=True))], dict(in_order)


def _row(
    asked: ReportQuestion,
    zone: ZoneInfo,
    dimensions: Sequence[str],
    names: Mapping[str, Mapping[str, NamedThing]],
    columns: Sequence[FigureColumn],
    start: datetime | None,
    group: Group,
    figures: Mapping[str, Decimal | None],
) -> ReportRow:
    currency = asked.currency
    named = [] if start is None else [_period_cell(to_local(start, zone), asked.grain)]
    for dimension, value in zip(dimensions, group, strict=True):
        if dimension == CURRENCY:
            currency = value
            named.append(ReportCell(value.upper(), value))
        else:
            thing = names[dimension][value]
            named.append(ReportCell(thing.name, thing.name, thing.address))
    values = tuple(figures.get(column.name) for column in columns)
    cells = tuple(_figure_cell(column, value, currency) for column, value in zip(columns, values, strict=True))
    return ReportRow(start, group, currency, tuple(named), cells, values)


def _period_cell(start: datetime, grain: str) -> ReportCell:
    written = {"month": "%B %Y", "week": "Week of %-d %b %Y"}.get(grain, "%-d %b %Y")
    return ReportCell(start.strftime(written), start.date().isoformat())


def _figure_cell(column: FigureColumn, value: Decimal | None, currency: str) -> ReportCell:
    """A figure as people read it, and as it is."""
    if value is None:
        return ReportCell("", "")
    unit = MetricUnit.PERCENT if column.name.endswith(_CHANGE) else column.metric.unit
    match unit:
        case MetricUnit.MONEY if currency:
            shown = wording.money(value, currency)
        case MetricUnit.PERCENT:
            shown = f"{wording.GLOBALS['grouped'](value)} %"
        case _:
            shown = wording.quantity(value)
    return ReportCell(shown, plain(value))


def _totals(
    asked: ReportQuestion, columns: Sequence[FigureColumn], rows: Sequence[ReportRow], named: int
) -> list[ReportRow]:
    """The sum of each currency's rows, where rows may be added and there are several."""
    may_add = (asked.page.adds_up_by(asked.dimension) or asked.page.spreads_ages) and not asked.comparison
    if not may_add or len(rows) < 2:
        return []
    totals = []
    for currency in dict.fromkeys(row.currency for row in rows):
        of_currency = [row for row in rows if row.currency == currency]
        sums = tuple(exact_sum([row.values[place] or ZERO for row in of_currency]) for place, _ in enumerate(columns))
        label = f"All in {currency.upper()}" if currency else "All"
        cells = (ReportCell(label, label), *(ReportCell("", "") for _ in range(named - 1)))
        figures = tuple(_figure_cell(column, value, currency) for column, value in zip(columns, sums, strict=True))
        totals.append(ReportRow(None, (), currency, cells, figures, sums))
    return totals
