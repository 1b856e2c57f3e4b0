"""Which reports there are: those in which several figures stand together, and each metric alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from farthing.reporting.analytics.catalogue import (
    AGE,
    CURRENCY,
    LABELS,
    METADATA,
    METRICS,
    MetricKind,
    ReportMetric,
)
from farthing.reporting.analytics.schemas import ReportShape
from farthing.web.dashboard.overview.earnings import MRR_MOVEMENTS


@dataclass(frozen=True)
class ReportPage:
    """A report: its metrics side by side, and how it is looked at before anybody chooses."""

    key: str
    name: str
    explanation: str
    metric_keys: tuple[str, ...]
    grain: str = "month"
    """How time is cut; empty for the whole range in one."""
    dimension: str = ""
    """By what its rows are split."""
    is_as_of: bool = False
    """Whether it is about the end of one day rather than a range."""
    charted: str = ""
    """The metric of its picture, where that is not the first."""
    spreads_ages: bool = False
    """Whether the ages of what is owed are columns rather than rows."""

    @cached_property
    def metrics(self) -> tuple[ReportMetric, ...]:
        return tuple(METRICS[key] for key in self.metric_keys)

    @property
    def dimensions(self) -> Sequence[tuple[str, str]]:
        """What rows can be split by, as every metric of it can: key and label."""
        return [
            (key, LABELS[key])
            for key in self.metrics[0].dimensions
            if key not in {CURRENCY, AGE, f"{METADATA}<key>"} and all(metric.allows(key) for metric in self.metrics)
        ]

    @property
    def has_currency(self) -> bool:
        return all(metric.allows(CURRENCY) for metric in self.metrics)

    @property
    def has_series(self) -> bool:
        return not self.is_as_of and all(ReportShape.TIMESERIES in metric.shapes for metric in self.metrics)

    @property
    def can_compare(self) -> bool:
        return len(self.metrics) == 1 and not self.is_as_of

    def adds_up_by(self, dimension: str) -> bool:
        """Whether its rows of one currency may be added, split like this: flows of money or of things, unless a thing
        stands in several rows, as an event that several meters count."""
        if self.key == "usage_quantity" or (self.key == "event_count" and dimension in {"meter_id", "feature_id"}):
            return False
        return all(metric.kind is MetricKind.FLOW for metric in self.metrics)


_TOGETHER = (
    ReportPage(
        "revenue",
        "Revenue",
        "What was invoiced, what of it came in, and what was earned, month by month. Invoiced counts tax; earned is "
        "without it.",
        ("net_billing_issued", "collected", "recognized_revenue"),
    ),
    ReportPage(
        "tax",
        "Tax",
        "The tax of each period and rate, as it was issued: that of invoices when they became final, less that of "
        "voids and credit notes. This is what a return declares.",
        ("tax_charged",),
        dimension="tax_rate_id",
    ),
    ReportPage(
        "ageing",
        "Receivables by age",
        "What was unpaid at the end of a day, by customer and by how long it was past due. Choose a day in the past to "
        "see the books as they stood then.",
        ("receivables_aging",),
        grain="",
        dimension="customer_id",
        is_as_of=True,
        spreads_ages=True,
    ),
    ReportPage(
        "deferred",
        "Deferred and unbilled revenue",
        "What is invoiced and not earned yet, and what is earned and not invoiced yet, at the end of each period.",
        ("deferred_revenue", "unbilled_revenue"),
    ),
    ReportPage(
        "recurring",
        "Monthly recurring revenue",
        "Recurring fees brought to a month, why they moved, and how much of them stays. What MRR is at the end of a "
        "period is what it was at the end of the one before, and the movements.",
        (*MRR_MOVEMENTS, "mrr", "net_revenue_retention"),
        charted="mrr",
    ),
    ReportPage(
        "collections",
        "Collections",
        "Money that came in and money that went back, by when it did.",
        ("collected", "refunded"),
    ),
    ReportPage(
        "credits",
        "Credits",
        "Credits that were sold, those that paid invoices, and those that expired unused.",
        ("credit_topups", "credit_consumption", "credits_expired"),
    ),
)


def _alone(metric: ReportMetric) -> ReportPage:
    """A metric as a report of its own."""
    is_broken_down = metric.default_shape is ReportShape.BREAKDOWN
    return ReportPage(
        metric.key,
        metric.name,
        metric.description,
        (metric.key,),
        grain="" if is_broken_down else "month",
        dimension="feature_id" if metric.key == "usage_quantity" else "",
    )


REPORTS: Mapping[str, ReportPage] = MappingProxyType(
    {report.key: report for report in (*_TOGETHER, *map(_alone, METRICS.values()))}
)
"""Every report by its key."""


def reports_by_category() -> Sequence[tuple[str, Sequence[ReportPage]]]:
    """The reports as the first page lists them: those that stand together, then each metric by its category."""
    categories = {metric.category: list[ReportPage]() for metric in METRICS.values()}
    for metric in METRICS.values():
        categories[metric.category].append(REPORTS[metric.key])
    return [("To begin with", _TOGETHER), *((category.value, pages) for category, pages in categories.items())]
