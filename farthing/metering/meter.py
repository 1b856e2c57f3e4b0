"""The meter: which events count, and how they fold into one number."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

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


def _problems(one: Aggregation) -> dict[str, str]:
    problems: dict[str, str] = {}
    if one.type is not AggregationType.COUNT and not one.field and not one.expression:
        problems["aggregation.field"] = f"is required for {one.type}"
    if one.expression and one.type not in EXPRESSIBLE:
        problems["aggregation.expression"] = f"is not allowed for {one.type}, only for SUM, AVG, MAX and LATEST"
    elif one.expression and one.field:
        problems["aggregation.expression"] = "cannot be given together with field"
    if one.type is AggregationType.SUM_WITH_MULTIPLIER and (reason := _bad_multiplier(one.multiplier)):
        problems["aggregation.multiplier"] = reason
    if one.bucket_size and one.type not in BUCKETABLE:
        problems["aggregation.bucket_size"] = f"is not allowed for {one.type}, only for MAX and SUM"
    if one.group_by and (one.type is not AggregationType.MAX or not one.bucket_size):
        problems["aggregation.group_by"] = "is only allowed for MAX with a bucket_size"
    elif one.group_by and _GROUP_NAME.fullmatch(one.group_by) is None:
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
