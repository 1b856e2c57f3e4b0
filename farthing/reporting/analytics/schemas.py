"""What analytics asks and answers on the wire. Cells are text; an absent value is the empty text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

from farthing.core.encoding.wire import Request, Response, Timestamp, currency_code
from farthing.reporting.analytics.periods import Grain, RangeComparison

MOST_METRICS = 5
MOST_DIMENSIONS = 3
MOST_ROWS_SHOWN = 1_000
DEFAULT_LIMIT = 100
MOST_FILTERS = 50
NAME_LENGTH = 255

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=r"\S")]
Limit = Annotated[int, Meta(ge=1, le=MOST_ROWS_SHOWN)]


class ReportShape(StrEnum):
    """A row per bucket of time, a row per value of a dimension, or one figure."""

    TIMESERIES = "timeseries"
    BREAKDOWN = "breakdown"
    SCALAR = "scalar"


class MetricFamily(StrEnum):
    """Metrics that can be asked for together."""

    USAGE = "usage"
    BILLING = "billing"
    REPORT = "report"


class AnalyticsFilterOperator(StrEnum):
    EQUAL = "eq"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    GREATER = "gt"
    GREATER_OR_EQUAL = "gte"
    LESS = "lt"
    BEFORE = "before"
    AFTER = "after"


class ReportFilterOperator(StrEnum):
    EQUAL = "eq"
    IN = "in"


class AnalyticsSortDirection(StrEnum):
    ASCENDING = "asc"
    DESCENDING = "desc"


class AnalyticsDisplay(StrEnum):
    CHART = "chart"
    TABLE = "table"


class AnalyticsVariableType(StrEnum):
    DATE_RANGE = "date_range"
    STRING = "string"
    STRING_LIST = "string_list"
    NUMBER = "number"
    ENUM = "enum"
    BOOLEAN = "boolean"


class AnalyticsFilter(Request):
    """A condition; one that is `optional` is left out while its variable is empty."""

    field: str | None = None
    op: AnalyticsFilterOperator | None = None
    value: list[str] | None = None
    optional: bool | None = None


class AnalyticsSortSpec(Request):
    """A column of the answer, and which way."""

    field: str | None = None
    dir: AnalyticsSortDirection | None = None


class AnalyticsTimeSpecRaw(Request):
    """Which days, and how they are cut."""

    range: str | None = None
    grain: Grain | None = None


class AnalyticsVariable(Request):
    """What whoever runs a view may choose; `$name` stands for it in the range and in values of filters."""

    type: AnalyticsVariableType
    name: str | None = None
    default: list[str] | None = None
    required: bool | None = None


class AnalyticsViewDefinition(Request):
    """A question: which metrics, by what, over which time."""

    metrics: list[str]
    shape: ReportShape
    family: MetricFamily | None = None
    dimensions: list[str] | None = None
    time: AnalyticsTimeSpecRaw | None = None
    filters: list[AnalyticsFilter] | None = None
    currency: str | None = None
    compare: RangeComparison | None = None
    sort: list[AnalyticsSortSpec] | None = None
    limit: Limit | None = None
    display: AnalyticsDisplay | None = None
    variables: list[AnalyticsVariable] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency:
            self.currency = currency_code("currency", self.currency)


Variables = dict[str, list[str]]


class AnalyticsQueryRequest(Request):
    """A question, and what its variables stand for."""

    definition: AnalyticsViewDefinition
    variables: Variables | None = None


class RunAnalyticsViewRequest(Request):
    """What the variables of a view stand for."""

    variables: Variables | None = None


class SaveAnalyticsViewRequest(Request):
    """A question to keep under a name."""

    name: Name
    definition: AnalyticsViewDefinition


class ReportFilter(Request):
    """A condition of a built-in report."""

    field: str | None = None
    op: ReportFilterOperator | None = None
    value: list[str] | None = None


class ReportSort(Request):
    """A column of the answer, and which way."""

    field: str | None = None
    dir: AnalyticsSortDirection | None = None


class ReportGrain(StrEnum):
    """How long a bucket of a built-in report is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class RunReportRequest(Request):
    """How to look at a built-in report."""

    range: str
    shape: ReportShape
    grain: ReportGrain | None = None
    dimensions: list[str] | None = None
    filters: list[ReportFilter] | None = None
    currency: str | None = None
    compare: RangeComparison | None = None
    sort: list[ReportSort] | None = None
    limit: Limit | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.currency:
            self.currency = currency_code("currency", self.currency)


class AnalyticsColumnRole(StrEnum):
    DIMENSION = "dimension"
    METRIC = "metric"


class AnalyticsColumnType(StrEnum):
    STRING = "string"
    DECIMAL = "decimal"
    DATETIME = "datetime"


class AnalyticsColumn(Response):
    """A column: a dimension or a metric, in `currency` where all of it is."""

    name: str
    role: AnalyticsColumnRole
    type: AnalyticsColumnType
    currency: str | None = None


class AnalyticsQueryMeta(Response, rename={"from_": "from"}):
    """The time that was asked about, and whether rows were cut off."""

    from_: Timestamp
    to: Timestamp
    query_source: str
    truncated: bool
    row_count: int
    prev_from: Timestamp | None = None
    prev_to: Timestamp | None = None


class AnalyticsQueryResponse(Response):
    """Columns, and rows of text in their order."""

    columns: list[AnalyticsColumn]
    rows: list[list[str]]
    meta: AnalyticsQueryMeta


class AnalyticsViewResponse(Response):
    """A stored question; `version` counts its edits."""

    id: str
    name: str
    definition: dict[str, Any]
    version: int
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str


class ListAnalyticsViewsResponse(Response):
    """Every view of the environment, by name."""

    items: list[AnalyticsViewResponse]


class ReportDimension(Response):
    """Something by which a report can be split."""

    key: str
    label: str


class ReportCatalogEntry(Response):
    """A built-in report and how it may be asked."""

    key: str
    name: str
    description: str
    category: str
    kind: str
    value_type: str
    improvement: str
    shapes: list[str]
    default_shape: str
    grains: list[str]
    dimensions: list[ReportDimension]
    max_range_days: int
    supports_compare: bool
    variant_of: str | None = None
    variant_label: str | None = None


class ListAnalyticsReportsResponse(Response):
    """Every built-in report."""

    items: list[ReportCatalogEntry]
