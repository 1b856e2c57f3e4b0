"""What an address asks of a report: its days, how time is cut, what rows are split by, its currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from farthing.calendar.zones import to_local
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.reporting.analytics.catalogue import AGE, CURRENCY, MetricUnit
from farthing.reporting.analytics.definition import Question, read_definition
from farthing.reporting.analytics.schemas import AnalyticsViewDefinition, MetricFamily, ReportShape
from farthing.web.dashboard.overview.named_ranges import RANGES, named_days
from farthing.web.dashboard.reports.catalogue import ReportPage

_DAY = timedelta(days=1)
NAMES = ("range", "from", "until", "as_of", "grain", "by", "currency", "compare")
GRAINS = (("month", "Month"), ("week", "Week"), ("day", "Day"))
COMPARISONS = (("previous_period", "The period before"), ("previous_year", "The year before"))


@dataclass(frozen=True, slots=True)
class ReportQuestion:
    """A report as it was asked for; days are those of the seller's books, `last` included."""

    page: ReportPage
    first: date
    last: date
    range_name: str
    """The name of the range, empty where days were typed."""
    grain: str
    dimension: str
    currency: str
    comparison: str

    @property
    def parameters(self) -> dict[str, str]:
        """The same as an address says it."""
        days = {"from": self.first.isoformat(), "until": self.last.isoformat()}
        if self.page.is_as_of:
            days = {"as_of": self.last.isoformat()}
        elif self.range_name:
            days = {"range": self.range_name}
        asked = {"grain": self.grain or "none", "by": self.dimension or "none"}
        return {**days, **asked, "currency": self.currency, "compare": self.comparison}

    def questions(self, zone: ZoneInfo, now: datetime) -> list[Question]:
        """What the engine is asked, the same as over the API: metrics of one kind together. Raises ValidationFailed."""
        together: dict[tuple[MetricFamily, bool], list[str]] = {}
        for metric in self.page.metrics:
            # a customer counts once however many currencies it pays in; what is made of amounts is of one
            is_of_currency = metric.allows(CURRENCY) and metric.unit in {MetricUnit.MONEY, MetricUnit.PERCENT}
            together.setdefault((metric.family, is_of_currency and not self.currency), []).append(metric.key)
        return [self._question(keys, zone, now, by_currency=by_currency) for (_, by_currency), keys in together.items()]

    def _question(self, keys: list[str], zone: ZoneInfo, now: datetime, *, by_currency: bool) -> Question:
        dimensions = [self.dimension] if self.dimension else []
        dimensions += [CURRENCY] if by_currency else []
        shape = ReportShape.BREAKDOWN if dimensions or self.page.spreads_ages else ReportShape.SCALAR
        definition = {
            "metrics": keys,
            "shape": ReportShape.TIMESERIES if self.grain else shape,
            "dimensions": [AGE, *dimensions] if self.page.spreads_ages else dimensions,
            "time": {"range": f"{self.first}..{self.last + _DAY}", "grain": self.grain or None},
            "currency": self.currency or None,
            "compare": self.comparison or None,
        }
        return read_definition(convert(definition, AnalyticsViewDefinition), None, zone, now)


def read_report_question(page: ReportPage, asked: Mapping[str, str], zone: ZoneInfo, now: datetime) -> ReportQuestion:
    """What was asked of a report. Raises ValidationFailed naming what makes no sense."""
    today = to_local(now, zone).date()
    range_name, first, last = _days(page, asked, today)
    grain = _choice(asked, "grain", page.grain, [key for key, _ in GRAINS]) if page.has_series else ""
    comparison = _choice(asked, "compare", "", [key for key, _ in COMPARISONS]) if page.can_compare else ""
    dimension = _choice(asked, "by", page.dimension, [key for key, _ in page.dimensions])
    currency = asked.get("currency", "").lower() if page.has_currency else ""
    return ReportQuestion(page, first, last, range_name, grain, dimension, currency, comparison)


def _choice(asked: Mapping[str, str], name: str, default: str, allowed: list[str]) -> str:
    """One of the allowed values, "none" for nothing, the default where nothing was said. Raises ValidationFailed."""
    value = asked.get(name, "") or default
    if value in {"none", ""}:
        return ""
    if value not in allowed:
        raise ValidationFailed.of(name, f"must be one of {', '.join(allowed)}; not '{value}'")
    return value


def _days(page: ReportPage, asked: Mapping[str, str], today: date) -> tuple[str, date, date]:
    if page.is_as_of:
        day = _day("as_of", asked["as_of"]) if asked.get("as_of") else today
        return "", day, day
    if asked.get("from") or asked.get("until"):
        first = _day("from", asked.get("from", ""))
        last = _day("until", asked.get("until", "")) if asked.get("until") else today
        if last < first:
            raise ValidationFailed.of("until", "must not be before the first day")
        return "", first, last
    name = asked.get("range", "") or RANGES[0][0]
    return name, *named_days(name, today)


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ValidationFailed.of(field, f"'{text}' is no day; write it as 2027-01-31") from error
    if not 1900 <= day.year <= 9000:
        raise ValidationFailed.of(field, "must lie within the years 1900 to 9000")
    return day
