"""The metrics there are: what each means, by what it can be split, and how it may be asked.

Rule: docs/rules/reporting.md#metrics
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from farthing.reporting.analytics.periods import MOST_DAYS
from farthing.reporting.analytics.schemas import (
    MetricFamily,
    ReportCatalogEntry,
    ReportDimension,
    ReportGrain,
    ReportShape,
)

METADATA = "metadata."
CURRENCY = "currency"
AGE = "bucket"


class MetricKind(StrEnum):
    """A flow adds up over time, a snapshot is the state at an instant, a ratio is a quotient of two of them."""

    FLOW = "flow"
    SNAPSHOT = "snapshot"
    RATIO = "ratio"


class MetricUnit(StrEnum):
    MONEY = "money"
    COUNT = "count"
    DAYS = "days"
    PERCENT = "percent"
    QUANTITY = "quantity"


class ReportCategory(StrEnum):
    BILLING = "billing"
    RECEIVABLES = "receivables"
    CUSTOMERS = "customers"
    CREDITS = "credits"
    USAGE = "usage"


LABELS: Mapping[str, str] = MappingProxyType(
    {
        "customer_id": "Customer",
        "plan_id": "Plan",
        "subscription_id": "Subscription",
        "feature_id": "Feature",
        "meter_id": "Meter",
        "price_id": "Price",
        CURRENCY: "Currency",
        "invoice_type": "Invoice type",
        "billing_reason": "Billing reason",
        "payment_status": "Payment status",
        "payment_method_type": "Payment method",
        "tax_rate_id": "Tax rate",
        "country": "Country",
        AGE: "Days past due",
        f"{METADATA}<key>": "Customer metadata",
    }
)

_CUSTOMER = ("customer_id", CURRENCY, "country", f"{METADATA}<key>")
_INVOICE = (*_CUSTOMER, "subscription_id", "invoice_type", "billing_reason")
_INVOICE_NOW = (*_INVOICE, "payment_status")
_LINES = (*_INVOICE_NOW, "plan_id", "feature_id", "meter_id", "price_id")
_EVENTS = ("meter_id", "feature_id", "customer_id", "country", f"{METADATA}<key>")
_EVERY_SHAPE = (ReportShape.TIMESERIES, ReportShape.BREAKDOWN, ReportShape.SCALAR)

LINE_DIMENSIONS = frozenset({"plan_id", "feature_id", "meter_id", "price_id"})
"""Dimensions that lines have and their invoice as a whole has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMetric:
    """One metric. `improvement` says whether more of it is better or worse."""

    key: str
    name: str
    description: str
    category: ReportCategory
    family: MetricFamily
    kind: MetricKind
    unit: MetricUnit
    dimensions: tuple[str, ...]
    improvement: str = "higher"
    shapes: tuple[ReportShape, ...] = _EVERY_SHAPE
    default_shape: ReportShape = ReportShape.TIMESERIES
    variant_of: str | None = None
    variant_label: str | None = None

    @property
    def is_money(self) -> bool:
        return self.unit is MetricUnit.MONEY

    def allows(self, dimension: str) -> bool:
        """Whether the metric can be split or filtered by `dimension`."""
        key = f"{METADATA}<key>" if dimension.startswith(METADATA) and len(dimension) > len(METADATA) else dimension
        return key in self.dimensions

    def entry(self) -> ReportCatalogEntry:
        """The metric as a built-in report."""
        return ReportCatalogEntry(
            key=self.key,
            name=self.name,
            description=self.description,
            category=self.category.value,
            kind=self.kind.value,
            value_type=self.unit.value,
            improvement=self.improvement,
            shapes=[shape.value for shape in self.shapes],
            default_shape=self.default_shape.value,
            grains=[grain.value for grain in ReportGrain],
            dimensions=[ReportDimension(key=key, label=LABELS[key]) for key in self.dimensions],
            max_range_days=MOST_DAYS,
            supports_compare=True,
            variant_of=self.variant_of,
            variant_label=self.variant_label,
        )


def _flow(key: str, name: str, description: str, category: ReportCategory, **more: object) -> ReportMetric:
    """A flow of money, unless said otherwise."""
    given = {"family": MetricFamily.BILLING, "kind": MetricKind.FLOW, "unit": MetricUnit.MONEY, **more}
    return ReportMetric(key=key, name=name, description=description, category=category, **given)  # type: ignore[arg-type]


def _figure(key: str, name: str, description: str, category: ReportCategory, **more: object) -> ReportMetric:
    """A snapshot of money, unless said otherwise."""
    given = {"family": MetricFamily.REPORT, "kind": MetricKind.SNAPSHOT, "unit": MetricUnit.MONEY, **more}
    return ReportMetric(key=key, name=name, description=description, category=category, **given)  # type: ignore[arg-type]


_BILLING, _RECEIVABLES, _CUSTOMERS = ReportCategory.BILLING, ReportCategory.RECEIVABLES, ReportCategory.CUSTOMERS
_CREDITS, _USAGE = ReportCategory.CREDITS, ReportCategory.USAGE
_RATIO, _COUNT, _PERCENT = MetricKind.RATIO, MetricUnit.COUNT, MetricUnit.PERCENT

_BILLED = (
    _flow(
        "invoice_total",
        "Invoiced",
        "Totals of final invoices, tax included and prepaid credits taken off, dated by the end of their period. "
        "An invoice that was voided since does not count.",
        _BILLING,
        dimensions=_LINES,
    ),
    _flow(
        "invoice_total_issued",
        "Invoiced, as issued",
        "Totals of invoices dated by when they became final; a void counts negative when it happens, so that a "
        "month that is over keeps its figure.",
        _BILLING,
        dimensions=_LINES,
        variant_of="invoice_total",
        variant_label="As issued",
    ),
    _flow(
        "net_billing",
        "Net billing",
        "Invoiced less credit notes, each note dated as its invoice.",
        _BILLING,
        dimensions=_LINES,
    ),
    _flow(
        "net_billing_issued",
        "Net billing, as issued",
        "Invoiced as issued less credit notes, each dated by when it took effect.",
        _BILLING,
        dimensions=_LINES,
        variant_of="net_billing",
        variant_label="As issued",
    ),
    _flow(
        "tax_charged",
        "Tax",
        "Tax as issued: that of invoices when they become final, less that of voids and credit notes.",
        _BILLING,
        dimensions=(*_INVOICE_NOW, "tax_rate_id"),
    ),
    _flow(
        "collected",
        "Collected",
        "Money that came in: succeeded payments but for those from wallets, dated by their success.",
        _BILLING,
        dimensions=(*_CUSTOMER, "payment_method_type"),
    ),
    _flow(
        "refunded",
        "Refunded",
        "Money that went back to customers, and not into their wallets, dated by when it did.",
        _BILLING,
        dimensions=_CUSTOMER,
        improvement="lower",
    ),
)

_OWED = (
    _figure(
        "total_receivables",
        "Receivables",
        "What was unpaid at that moment on invoices that were final then, worked out from their totals, "
        "credit notes and settlements.",
        _RECEIVABLES,
        dimensions=(*_INVOICE, AGE),
        improvement="lower",
    ),
    _figure(
        "receivables_aging",
        "Receivables by age",
        "Receivables by whole days past due, begun days counted as whole; what has no due date is not due.",
        _RECEIVABLES,
        dimensions=(*_INVOICE, AGE),
        improvement="lower",
        shapes=(ReportShape.BREAKDOWN, ReportShape.TIMESERIES),
        default_shape=ReportShape.BREAKDOWN,
    ),
    _figure(
        "days_to_pay",
        "Days to pay",
        "How many days it took on average from an invoice becoming final to its being fully paid, "
        "of invoices paid in the time.",
        _RECEIVABLES,
        kind=_RATIO,
        unit=MetricUnit.DAYS,
        dimensions=_INVOICE_NOW,
        improvement="lower",
    ),
    _flow(
        "written_off",
        "Written off",
        "What was given up of invoices, dated by when it was; negative where it came after all, or was taken back.",
        _RECEIVABLES,
        dimensions=_INVOICE,
        improvement="lower",
    ),
)

_OF_CUSTOMERS = (
    _figure(
        "active_customers",
        "Active customers",
        "Customers with a subscription that is active or in its trial at any moment of the time; does not add up.",
        _CUSTOMERS,
        unit=_COUNT,
        dimensions=_CUSTOMER,
    ),
    _figure(
        "arpu",
        "Revenue per customer",
        "Invoiced as issued without tax, before prepaid credits and less credit notes, per active customer.",
        _CUSTOMERS,
        kind=_RATIO,
        dimensions=_CUSTOMER,
    ),
    _figure(
        "arpu_paid",
        "Collected per paying customer",
        "Payments less refunds, per customer who paid.",
        _CUSTOMERS,
        kind=_RATIO,
        dimensions=_CUSTOMER,
    ),
)

_OF_CREDITS = (
    _flow("credit_topups", "Credits sold", "Credits that were bought, at their price.", _CREDITS, dimensions=_CUSTOMER),
    _flow(
        "credit_consumption",
        "Credits used",
        "Credits that paid invoices, less what voids gave back.",
        _CREDITS,
        dimensions=_CUSTOMER,
    ),
    _flow(
        "credits_expired",
        "Credits expired",
        "The value of credits that expired or ended with their wallet.",
        _CREDITS,
        dimensions=_CUSTOMER,
        improvement="lower",
    ),
)

_OF_USAGE = (
    _flow(
        "usage_quantity",
        "Usage",
        "The usage of meters or features; quantities of different ones are never added.",
        _USAGE,
        family=MetricFamily.USAGE,
        unit=MetricUnit.QUANTITY,
        dimensions=("feature_id", "meter_id", "customer_id"),
    ),
    _flow(
        "event_count",
        "Metered events",
        "Events that a meter counted.",
        _USAGE,
        family=MetricFamily.USAGE,
        unit=_COUNT,
        dimensions=_EVENTS,
    ),
    _flow(
        "events_volume",
        "Events",
        "All events that are stored.",
        _USAGE,
        family=MetricFamily.USAGE,
        unit=_COUNT,
        dimensions=("customer_id", "country", f"{METADATA}<key>"),
    ),
)

_RECURRING_DIMENSIONS = (*_CUSTOMER, "subscription_id", "plan_id")
_RECURRING = (
    _figure(
        "mrr",
        "Monthly recurring revenue",
        "Recurring fees of active subscriptions brought to a month, less lasting discounts; no tax and no usage.",
        _CUSTOMERS,
        dimensions=_RECURRING_DIMENSIONS,
    ),
    _figure(
        "arr",
        "Annual recurring revenue",
        "Twelve times the monthly recurring revenue.",
        _CUSTOMERS,
        dimensions=_RECURRING_DIMENSIONS,
        variant_of="mrr",
        variant_label="Annual",
    ),
    *(
        _flow(f"mrr_{movement}", name, description, _CUSTOMERS, dimensions=_CUSTOMER, improvement=improvement)
        for movement, name, description, improvement in (
            ("new", "New MRR", "MRR of customers who never had any before.", "higher"),
            ("expansion", "Expansion MRR", "What MRR grew by with customers who had some.", "higher"),
            ("contraction", "Contraction MRR", "What MRR shrank by with customers who keep some.", "lower"),
            ("churn", "Churned MRR", "MRR of customers who are left with none.", "lower"),
            ("reactivation", "Reactivated MRR", "MRR of customers who came back.", "higher"),
        )
    ),
    _figure(
        "gross_churn_rate",
        "Gross MRR churn",
        "How much MRR of the customers at the start was lost by the end, in per cent; growth does not make up for it.",
        _CUSTOMERS,
        kind=_RATIO,
        unit=_PERCENT,
        dimensions=_CUSTOMER,
        improvement="lower",
    ),
    _figure(
        "net_revenue_retention",
        "Net revenue retention",
        "MRR at the end of the customers at the start, in per cent of what it was at the start.",
        _CUSTOMERS,
        kind=_RATIO,
        unit=_PERCENT,
        dimensions=_CUSTOMER,
    ),
)

_RECOGNIZED_DIMENSIONS = (*_CUSTOMER, "subscription_id", "price_id", "meter_id")
_RECOGNIZED = (
    _flow(
        "recognized_revenue",
        "Recognized revenue",
        "Fees spread over the days of their period, usage when it was used, one-off charges on their date, and bought "
        "credits that lapsed; without tax.",
        _BILLING,
        dimensions=_RECOGNIZED_DIMENSIONS,
    ),
    _figure(
        "deferred_revenue",
        "Deferred revenue",
        "What is invoiced and not earned yet, line by line, and credits that were bought and not used.",
        _BILLING,
        dimensions=_RECOGNIZED_DIMENSIONS,
    ),
    _figure(
        "unbilled_revenue",
        "Unbilled revenue",
        "What is earned and not invoiced yet, line by line.",
        _BILLING,
        dimensions=_RECOGNIZED_DIMENSIONS,
    ),
)

METRICS: Mapping[str, ReportMetric] = MappingProxyType(
    {
        metric.key: metric
        for metric in (*_BILLED, *_OWED, *_OF_CUSTOMERS, *_OF_CREDITS, *_OF_USAGE, *_RECURRING, *_RECOGNIZED)
    }
)
"""Every metric by its key, in the order of the catalogue."""
