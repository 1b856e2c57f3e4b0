"""From what is asked to a question that can be answered: everything is checked here, and named by its field.

Rule: docs/rules/reporting.md#questions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from farthing.core import money
from farthing.core.errors import ValidationFailed
from farthing.reporting.analytics.catalogue import (
    AGE,
    CURRENCY,
    METADATA,
    METRICS,
    MetricKind,
    ReportMetric,
)
from farthing.reporting.analytics.periods import (
    DEFAULT_RANGE,
    MOST_DAYS_BY_HOUR,
    DayRange,
    Grain,
    RangeComparison,
    read_range,
)
from farthing.reporting.analytics.schemas import (
    DEFAULT_LIMIT,
    MOST_DIMENSIONS,
    MOST_FILTERS,
    MOST_METRICS,
    AnalyticsFilter,
    AnalyticsFilterOperator,
    AnalyticsSortDirection,
    AnalyticsSortSpec,
    AnalyticsTimeSpecRaw,
    AnalyticsVariable,
    AnalyticsVariableType,
    AnalyticsViewDefinition,
    MetricFamily,
    ReportShape,
    RunReportRequest,
    Variables,
)

TIME = "time"
_MOST_KEY = 64
_LISTS = frozenset({AnalyticsFilterOperator.IN, AnalyticsFilterOperator.NOT_IN})
_TEXT_OPERATORS = (
    AnalyticsFilterOperator.EQUAL,
    AnalyticsFilterOperator.IN,
    AnalyticsFilterOperator.NOT_IN,
    AnalyticsFilterOperator.CONTAINS,
    AnalyticsFilterOperator.NOT_CONTAINS,
)
_SINGLE = frozenset(
    {
        AnalyticsVariableType.STRING,
        AnalyticsVariableType.NUMBER,
        AnalyticsVariableType.ENUM,
        AnalyticsVariableType.BOOLEAN,
        AnalyticsVariableType.DATE_RANGE,
    }
)


@dataclass(frozen=True, slots=True)
class ReportCondition:
    """What the value of a dimension must be."""

    field: str
    operator: AnalyticsFilterOperator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SortOrder:
    column: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A definition that can be answered.

    `dimensions` are what rows are split by; the currency is among them whenever money of several could meet.
    """

    metrics: tuple[ReportMetric, ...]
    shape: ReportShape
    dimensions: tuple[str, ...]
    range: DayRange
    grain: Grain | None
    conditions: tuple[ReportCondition, ...]
    currency: str | None
    comparison: RangeComparison | None
    order: tuple[SortOrder, ...]
    limit: int

    @property
    def fields(self) -> frozenset[str]:
        """Every dimension that rows are split or narrowed by."""
        return frozenset(self.dimensions) | {condition.field for condition in self.conditions}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of the answer, in their order."""
        return (*self.row_columns, *(column for metric in self.metrics for column in self.metric_columns(metric)))

    @property
    def row_columns(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return (*((TIME,) if self.grain is not None else ()), *self.dimensions)

    def metric_columns(self, metric: ReportMetric) -> tuple[str, ...]:
        """The columns of one metric."""
        if self.comparison is None:
            return (metric.key,)
        return metric.key, f"{metric.key}_prev", f"{metric.key}_change_percent"


def read_report(key: str, asked: RunReportRequest, zone: ZoneInfo, now: datetime) -> Question:
    """The question that a built-in report asks. Raises ValidationFailed."""
    grain = None if asked.grain is None else Grain(asked.grain.value)
    definition = AnalyticsViewDefinition(
        metrics=[key],
        shape=asked.shape,
        dimensions=asked.dimensions,
        time=AnalyticsTimeSpecRaw(range=asked.range, grain=grain),
        filters=[
            AnalyticsFilter(
                field=given.field,
                op=None if given.op is None else AnalyticsFilterOperator(given.op.value),
                value=given.value,
            )
            for given in asked.filters or ()
        ],
        currency=asked.currency,
        compare=asked.compare,
        sort=[AnalyticsSortSpec(field=given.field, dir=given.dir) for given in asked.sort or ()],
        limit=asked.limit,
    )
    try:
        return read_definition(definition, None, zone, now)
    except ValidationFailed as error:
        raise ValidationFailed.listing(
            {
                {"time.range": "range", "time.grain": "grain"}.get(field, field): reason
                for field, reason in error.details.items()
            }
        ) from error


def read_definition(
    definition: AnalyticsViewDefinition, given: Variables | None, zone: ZoneInfo, now: datetime
) -> Question:
    """The question that a definition asks, its variables filled in. Raises ValidationFailed."""
    variables = _variables(definition.variables or (), given or {}, zone, now)
    metrics = _metrics(definition)
    dimensions = _dimensions(definition, metrics)
    time = definition.time or AnalyticsTimeSpecRaw()
    days = read_range(_range_text(time.range, variables), zone, now, "time.range")
    grain = _grain(definition.shape, time.grain, metrics, days)
    _check_shape(definition, metrics, dimensions)
    question = Question(
        metrics=metrics,
        shape=definition.shape,
        dimensions=dimensions,
        range=days,
        grain=grain,
        conditions=tuple(_conditions(definition.filters or (), metrics, variables)),
        currency=definition.currency or None,
        comparison=definition.compare,
        order=(),
        limit=definition.limit or DEFAULT_LIMIT,
    )
    _check_usage(question)
    return _sorted(question, definition.sort or ())


def check_definition(definition: AnalyticsViewDefinition, zone: ZoneInfo, now: datetime) -> MetricFamily:
    """The family of a definition that is to be stored. Raises ValidationFailed.

    A required variable without a default stands for something that its type allows, because whoever runs the view
    gives it.
    """
    samples = {
        AnalyticsVariableType.DATE_RANGE: DEFAULT_RANGE,
        AnalyticsVariableType.NUMBER: "0",
        AnalyticsVariableType.BOOLEAN: "true",
    }
    given = {
        variable.name: [samples.get(variable.type, "x")]
        for variable in definition.variables or ()
        if variable.name and not variable.default
    }
    return read_definition(definition, given, zone, now).metrics[0].family


def _metrics(definition: AnalyticsViewDefinition) -> tuple[ReportMetric, ...]:
    keys = definition.metrics
    if not 1 <= len(keys) <= MOST_METRICS:
        raise ValidationFailed.of("metrics", f"must name 1 to {MOST_METRICS} metrics")
    for number, key in enumerate(keys):
        if key not in METRICS:
            raise ValidationFailed.of(f"metrics[{number}]", f"must be one of {', '.join(METRICS)}; not '{key}'")
    if len(set(keys)) != len(keys):
        raise ValidationFailed.of("metrics", "must not name a metric twice")
    metrics = tuple(METRICS[key] for key in keys)
    families = {metric.family for metric in metrics}
    if len(families) > 1:
        listed = ", ".join(f"{metric.key} ({metric.family.value})" for metric in metrics)
        raise ValidationFailed.of("metrics", f"must be of one family: {listed}")
    if definition.family is not None and definition.family not in families:
        raise ValidationFailed.of("family", f"must be {metrics[0].family.value} with {keys[0]}, or left out")
    return metrics


def _dimensions(definition: AnalyticsViewDefinition, metrics: Sequence[ReportMetric]) -> tuple[str, ...]:
    asked = list(definition.dimensions or ())
    if len(asked) > MOST_DIMENSIONS:
        raise ValidationFailed.of("dimensions", f"must name at most {MOST_DIMENSIONS} dimensions")
    if len(set(asked)) != len(asked):
        raise ValidationFailed.of("dimensions", "must not name a dimension twice")
    for number, dimension in enumerate(asked):
        _check_field(f"dimensions[{number}]", dimension, metrics)
    if any(metric.key == "receivables_aging" for metric in metrics) and AGE not in asked:
        asked.insert(0, AGE)
    if any(metric.is_money for metric in metrics) and definition.currency is None and CURRENCY not in asked:
        asked.append(CURRENCY)
    return tuple(asked)


def _check_field(path: str, dimension: str, metrics: Sequence[ReportMetric]) -> None:
    for metric in metrics:
        if not metric.allows(dimension):
            allowed = ", ".join(metric.dimensions)
            raise ValidationFailed.of(path, f"{metric.key} can be split by {allowed}; not by '{dimension}'")
    if len(dimension) - len(METADATA) > _MOST_KEY and dimension.startswith(METADATA):
        raise ValidationFailed.of(path, f"the key must be at most {_MOST_KEY} characters long")


def _grain(shape: ReportShape, grain: Grain | None, metrics: Sequence[ReportMetric], days: DayRange) -> Grain | None:
    if shape is not ReportShape.TIMESERIES:
        return None
    if grain is None:
        raise ValidationFailed.of("time.grain", "is required for a timeseries")
    if grain is Grain.HOUR:
        if metrics[0].family is not MetricFamily.USAGE:
            raise ValidationFailed.of("time.grain", "must be day, week or month; hour is for metrics of usage")
        if days.days > MOST_DAYS_BY_HOUR:
            raise ValidationFailed.of("time.range", f"must be at most {MOST_DAYS_BY_HOUR} days long with hours")
    return grain


def _check_shape(
    definition: AnalyticsViewDefinition, metrics: Sequence[ReportMetric], dimensions: Sequence[str]
) -> None:
    for metric in metrics:
        if definition.shape not in metric.shapes:
            allowed = " or ".join(shape.value for shape in metric.shapes)
            raise ValidationFailed.of("shape", f"must be {allowed} for {metric.key}")
    chosen = [dimension for dimension in dimensions if dimension in (definition.dimensions or ()) or dimension == AGE]
    if definition.shape is ReportShape.BREAKDOWN and not chosen:
        raise ValidationFailed.of("dimensions", "must name at least one dimension for a breakdown")
    if definition.shape is ReportShape.SCALAR and chosen:
        raise ValidationFailed.of("dimensions", "must be empty for a scalar; ask for a breakdown")
    if definition.currency and not any(metric.allows(CURRENCY) for metric in metrics):
        raise ValidationFailed.of("currency", f"{metrics[0].key} is not in any currency")
    if definition.currency and not all(metric.allows(CURRENCY) for metric in metrics):
        raise ValidationFailed.of("currency", "not all metrics are in a currency")


def _check_usage(question: Question) -> None:
    """Quantities of different meters are never added."""
    for metric in question.metrics:
        if metric.key != "usage_quantity" or {"feature_id", "meter_id"} & set(question.dimensions):
            continue
        named = [
            condition
            for condition in question.conditions
            if condition.field in {"feature_id", "meter_id"}
            and condition.operator in {AnalyticsFilterOperator.EQUAL, AnalyticsFilterOperator.IN}
            and len(set(condition.values)) == 1
        ]
        if not named:
            raise ValidationFailed.of(
                "dimensions", "usage_quantity needs feature_id or meter_id as a dimension, or a filter for one of them"
            )


def _sorted(question: Question, asked: Sequence[AnalyticsSortSpec]) -> Question:
    order = []
    for number, spec in enumerate(asked):
        if spec.field not in question.columns:
            allowed = ", ".join(question.columns)
            raise ValidationFailed.of(f"sort[{number}].field", f"must be a column of the answer: {allowed}")
        order.append(SortOrder(spec.field, spec.dir is AnalyticsSortDirection.DESCENDING))
    return Question(
        question.metrics,
        question.shape,
        question.dimensions,
        question.range,
        question.grain,
        question.conditions,
        question.currency,
        question.comparison,
        tuple(order),
        question.limit,
    )


# variables and filters


def _variables(
    declared: Sequence[AnalyticsVariable], given: Variables, zone: ZoneInfo, now: datetime
) -> Mapping[str, tuple[str, ...]]:
    """What each variable stands for; an empty list where nothing was given for one that may be left out."""
    values: dict[str, tuple[str, ...]] = {}
    for number, variable in enumerate(declared):
        if not variable.name:
            raise ValidationFailed.of(f"variables[{number}].name", "is required")
        if variable.name in values:
            raise ValidationFailed.of(f"variables[{number}].name", f"'{variable.name}' is declared twice")
        default = variable.default or []
        chosen = given.get(variable.name, default)
        if variable.required and not chosen:
            raise ValidationFailed.of(f"variables.{variable.name}", "is required")
        for value in chosen:
            _check_value(variable, value, zone, now)
        if variable.type in _SINGLE and len(chosen) > 1:
            raise ValidationFailed.of(f"variables.{variable.name}", "must be a single value")
        values[variable.name] = tuple(chosen)
    for name in given:
        if name not in values:
            raise ValidationFailed.of(f"variables.{name}", "is not declared in the definition")
    return values


def _check_value(variable: AnalyticsVariable, value: str, zone: ZoneInfo, now: datetime) -> None:
    field = f"variables.{variable.name}"
    match variable.type:
        case AnalyticsVariableType.DATE_RANGE:
            read_range(value, zone, now, field)
        case AnalyticsVariableType.NUMBER:
            try:
                money.parse(value)
            except ValueError as error:
                raise ValidationFailed.of(field, str(error)) from error
        case AnalyticsVariableType.BOOLEAN:
            if value not in {"true", "false"}:
                raise ValidationFailed.of(field, f"must be true or false, not '{value}'")


def _range_text(text: str | None, variables: Mapping[str, tuple[str, ...]]) -> str:
    if text is None:
        return DEFAULT_RANGE
    if not text.startswith("$"):
        return text
    values = _referred(text, variables, "time.range")
    return values[0] if values else DEFAULT_RANGE


def _referred(text: str, variables: Mapping[str, tuple[str, ...]], path: str) -> tuple[str, ...]:
    name = text.removeprefix("$")
    if name not in variables:
        raise ValidationFailed.of(path, f"refers to the variable '{name}', which is not declared")
    return variables[name]


def _conditions(
    filters: Sequence[AnalyticsFilter], metrics: Sequence[ReportMetric], variables: Mapping[str, tuple[str, ...]]
) -> Iterator[ReportCondition]:
    if len(filters) > MOST_FILTERS:
        raise ValidationFailed.of("filters", f"must be at most {MOST_FILTERS}")
    for number, given in enumerate(filters):
        path = f"filters[{number}]"
        if not given.field:
            raise ValidationFailed.of(f"{path}.field", "is required")
        if given.op is None:
            raise ValidationFailed.of(f"{path}.op", "is required")
        _check_field(f"{path}.field", given.field, metrics)
        if given.op not in _TEXT_OPERATORS:
            allowed = ", ".join(_TEXT_OPERATORS)
            raise ValidationFailed.of(f"{path}.op", f"{given.field} is text: must be one of {allowed}; not {given.op}")
        values: list[str] = []
        for value in given.value or ():
            values += _referred(value, variables, f"{path}.value") if value.startswith("$") else (value,)
        if not values:
            if given.optional and given.value:
                continue
            raise ValidationFailed.of(f"{path}.value", "must hold at least one value")
        if given.op not in _LISTS and len(values) > 1:
            raise ValidationFailed.of(f"{path}.value", f"must be a single value with {given.op}")
        yield ReportCondition(given.field, given.op, tuple(values))


def carries_forward(metric: ReportMetric) -> bool:
    """Whether the metric is a state that a bucket has at its end, rather than what happened in it."""
    return metric.kind is MetricKind.SNAPSHOT and metric.key != "active_customers"
