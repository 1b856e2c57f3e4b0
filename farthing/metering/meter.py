"""The meter: which events count, and how they fold into one number."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import combinations

from farthing.calendar.windows import WindowSize
from farthing.core.errors import ValidationFailed
from farthing.core.money import checked
from farthing.metering.expression import InvalidExpression
from farthing.metering.filters import Conditions, Filter, conditions
from farthing.metering.formula import Formula, compiled


class AggregationType(StrEnum):
    """How quantities fold into one number. Closed; the values are the wire's."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    COUNT_UNIQUE = "COUNT_UNIQUE"
    LATEST = "LATEST"
    SUM_WITH_MULTIPLIER = "SUM_WITH_MULTIPLIER"
    MAX = "MAX"
    WEIGHTED_SUM = "WEIGHTED_SUM"


class ResetUsage(StrEnum):
    """Whether a level lives on over the end of a period. Closed; the values are the wire's."""

    BILLING_PERIOD = "BILLING_PERIOD"
    NEVER = "NEVER"


EXPRESSIBLE = frozenset({AggregationType.SUM, AggregationType.AVG, AggregationType.MAX, AggregationType.LATEST})
BUCKETABLE = frozenset({AggregationType.MAX, AggregationType.SUM})
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.]+")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is taken from each event, and how it is folded. Empty text counts as absent.

    Raises ValidationFailed naming every field that breaks a rule.
    Rule: docs/rules/metering.md#aggregations
    """

    type: AggregationType
    field: str | None = None
    expression: str | None = None
    multiplier: Decimal | None = None
    bucket_size: WindowSize | None = None
    group_by: str | None = None
    formula: Formula | None = dataclasses.field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        problems = _problems(self)
        if self.expression:
            try:
                object.__setattr__(self, "formula", compiled(self.expression))
            except InvalidExpression as error:
                problems.setdefault("aggregation.expression", f"invalid aggregation expression: {error}")
        if problems:
            raise ValidationFailed.listing(problems)


def _problems(aggregation: Aggregation) -> dict[str, str]:
    problems: dict[str, str] = {}
    if aggregation.type is not AggregationType.COUNT and not aggregation.field and not aggregation.expression:
        problems["aggregation.field"] = f"is required for {aggregation.type}"
    if aggregation.expression and aggregation.type not in EXPRESSIBLE:
        problems["aggregation.expression"] = f"is not allowed for {aggregation.type}, only for SUM, AVG, MAX and LATEST"
    elif aggregation.expression and aggregation.field:
        problems["aggregation.expression"] = "cannot be given together with field"
    if aggregation.type is AggregationType.SUM_WITH_MULTIPLIER and (reason := _bad_multiplier(aggregation.multiplier)):
        problems["aggregation.multiplier"] = reason
    if aggregation.bucket_size and aggregation.type not in BUCKETABLE:
        problems["aggregation.bucket_size"] = f"is not allowed for {aggregation.type}, only for MAX and SUM"
    if aggregation.group_by and (aggregation.type is not AggregationType.MAX or not aggregation.bucket_size):
        problems["aggregation.group_by"] = "is only allowed for MAX with a bucket_size"
    elif aggregation.group_by and _GROUP_NAME.fullmatch(aggregation.group_by) is None:
        problems["aggregation.group_by"] = "may hold letters, digits, '_' and '.' only"
    return problems


def _bad_multiplier(multiplier: Decimal | None) -> str | None:
    if multiplier is None:
        return "is required for SUM_WITH_MULTIPLIER"
    try:
        return None if checked(multiplier) > 0 else "must be greater than 0"
    except ValueError as error:
        return str(error)


@dataclass(frozen=True, slots=True)
class Meter:
    """Everything that turns an event into a quantity: immutable but for filters, which can only gain values.

    `event_name` is compared exactly. All `filters` must match; none means every event of the name.
    """

    id: str
    event_name: str
    aggregation: Aggregation
    filters: tuple[Filter, ...] = ()
    reset_usage: ResetUsage = ResetUsage.BILLING_PERIOD
    conditions: Conditions = dataclasses.field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        if not self.event_name.strip():
            raise ValidationFailed.of("event_name", "is required")
        object.__setattr__(self, "conditions", conditions(self.filters))

    @property
    def cost(self) -> int:
        """What measuring one event costs at most, in units of `expression.cost_of`."""
        formula = self.aggregation.formula
        return 1 + len(self.filters) + (formula.expression.cost if formula is not None else 0)


def sharing(meters: Iterable[Meter]) -> frozenset[str]:
    """Those of `meters` that may count an event which another of them counts, or counted it: filters only gain values,
    so that what they keep apart now was never together."""
    by_name: defaultdict[str, list[Meter]] = defaultdict(list)
    for meter in meters:
        by_name[meter.event_name].append(meter)
    return frozenset(
        meter.id
        for same in by_name.values()
        for pair in combinations(same, 2)
        if not _are_apart(*pair)
        for meter in pair
    )


def _are_apart(first: Meter, second: Meter) -> bool:
    """Whether a property that both look at may never have a value that both want."""
    return any(
        key == other and values.isdisjoint(others)
        for key, values in first.conditions
        for other, others in second.conditions
    )
