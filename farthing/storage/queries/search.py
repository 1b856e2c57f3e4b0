"""The search language: conditions joined by AND and a sort, over an allow-list of columns.

What is not in the table of operators is refused, never ignored: an ignored condition returns more than was asked.
Rule: docs/rules/conventions.md#search-conditions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, TypeVar

from sqlalchemy import (
    ARRAY,
    Boolean,
    DateTime,
    Enum,
    Integer,
    Numeric,
    Select,
    String,
    all_,
    any_,
    bindparam,
    false,
    not_,
    or_,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from farthing.core.encoding.wire import Moment, Request
from farthing.core.errors import ValidationFailed
from farthing.storage.tables import Base

LONGEST_ARRAY = 1000
MOST_VALUES = 5_000
"""How many values all conditions of one search may name together."""
LONGEST_TEXT = 1_000

Statement = TypeVar("Statement", bound=Select[Any])
Column = InstrumentedAttribute[Any]


class Operator(StrEnum):
    EQ = "eq"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    GT = "gt"
    LT = "lt"
    GTE = "gte"
    LTE = "lte"
    IN = "in"
    NOT_IN = "not_in"
    BEFORE = "before"
    AFTER = "after"


class Value(Request):
    """Exactly the member that `data_type` names is read."""

    string: str | None = None
    number: Decimal | None = None
    boolean: bool | None = None
    date: Moment | None = None
    array: list[str] | None = None


class Condition(Request):
    """One condition; all four parts are needed."""

    field: str
    operator: Operator
    data_type: Literal["string", "number", "date", "array"]
    value: Value


class SortBy(Request):
    """One level of a sort."""

    field: str
    direction: Literal["asc", "desc"]


def filterable(table: type[Base], fields: Sequence[str]) -> dict[str, Column]:
    """The columns of `table` that a search may name."""
    return {field: getattr(table, field) for field in fields}


_OPERATORS: Mapping[str, frozenset[Operator]] = {
    "string": frozenset({Operator.EQ, Operator.CONTAINS, Operator.NOT_CONTAINS}),
    "number": frozenset({Operator.EQ, Operator.GT, Operator.LT, Operator.GTE, Operator.LTE}),
    "date": frozenset({Operator.EQ, Operator.BEFORE, Operator.AFTER}),
    "array": frozenset({Operator.IN, Operator.NOT_IN}),
}


def apply_conditions(statement: Statement, conditions: Sequence[Condition], columns: Mapping[str, Column]) -> Statement:
    """Narrow `statement` by every condition. Raises ValidationFailed naming what cannot be applied."""
    if sum(len(condition.value.array or ()) for condition in conditions) > MOST_VALUES:
        raise ValidationFailed.of("filters", f"must name at most {MOST_VALUES} values together")
    for condition in conditions:
        statement = statement.where(_clause(condition, column_named(condition.field, columns)))
    return statement


def column_named(field: str, columns: Mapping[str, Column]) -> Column:
    """The column that a search names. Raises ValidationFailed for one that cannot be searched."""
    if field not in columns:
        raise ValidationFailed.of("field", f"'{field}' cannot be searched; use one of {', '.join(columns)}")
    return columns[field]


def _clause(condition: Condition, column: Column) -> Any:
    operator, kind = condition.operator, condition.data_type
    if operator == Operator.EQ and condition.value.boolean is not None:
        return column == _fit(column.type, condition.value.boolean, condition.field)
    if operator not in _OPERATORS[kind]:
        raise ValidationFailed.of("operator", f"'{operator}' does not apply to data_type '{kind}'")
    value = getattr(condition.value, kind)
    if value is None:
        raise ValidationFailed.of("value", f"'{kind}' is required for data_type '{kind}'")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValidationFailed.of("value", f"'string' must be at most {LONGEST_TEXT} characters long")
    if kind == "array":
        return _membership(column, operator, value, condition.field)
    if operator in {Operator.CONTAINS, Operator.NOT_CONTAINS}:
        return _substring(column, operator, value, condition.field)
    return _comparison[operator](column, _fit(column.type, value, condition.field))


_comparison: Mapping[Operator, Callable[[Column, Any], Any]] = {
    Operator.EQ: lambda column, value: column == value,
    Operator.GT: lambda column, value: column > value,
    Operator.LT: lambda column, value: column < value,
    Operator.GTE: lambda column, value: column >= value,
    Operator.LTE: lambda column, value: column <= value,
    Operator.BEFORE: lambda column, value: column < value,
    Operator.AFTER: lambda column, value: column > value,
}


def _membership(column: Column, operator: Operator, values: list[str], field: str) -> Any:
    if len(values) > LONGEST_ARRAY:
        raise ValidationFailed.of("value", f"'array' must have at most {LONGEST_ARRAY} items")
    if not values:
        return false() if operator == Operator.IN else true()
    # one array, whatever it holds: a parameter for each of a thousand values costs far more than the search
    kind = column.type  # looked up once: the attribute is found anew each time
    fitted = bindparam(None, [_fit(kind, value, field) for value in values], ARRAY(kind))
    return column == any_(fitted) if operator == Operator.IN else or_(column != all_(fitted), column.is_(None))


def _substring(column: Column, operator: Operator, value: str, field: str) -> Any:
    if not isinstance(column.type, String) or isinstance(column.type, Enum):
        raise ValidationFailed.of("operator", f"'{operator}' does not apply to '{field}'")
    matches = column.icontains(value, autoescape=True)
    return matches if operator == Operator.CONTAINS else or_(not_(matches), column.is_(None))


def _fit(kind: TypeEngine[Any], value: Any, field: str) -> Any:
    """`value` as a column's type, or a refusal: a comparison that PostgreSQL would reject never reaches it."""
    wanted = "text"
    if isinstance(kind, Enum):
        if isinstance(value, str) and value in kind.enums:
            return value
        wanted = f"one of {', '.join(str(name) for name in kind.enums)}"
    elif isinstance(kind, String):
        if isinstance(value, str):
            return value
    elif isinstance(kind, Boolean):
        if isinstance(value, bool):
            return value
        if value in {"true", "false"}:
            return value == "true"
        wanted = "a boolean"
    elif isinstance(kind, (Integer, Numeric)):
        wanted = "a number"
        number = _number(value)
        if number is not None and abs(number) < 2**63:
            return number
    elif isinstance(kind, DateTime):
        wanted = "a timestamp"
        if isinstance(value, datetime):
            return value
    raise ValidationFailed.of("value", f"'{field}' is compared with {wanted}")


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (Decimal, str)):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def apply_sort(
    statement: Statement,
    table: type[Base],
    sort: Sequence[SortBy] | str | None,
    order: str | None,
    columns: Mapping[str, Column],
) -> Statement:
    """Order by the sort given (nulls last), then newest first, then by id."""
    levels = sort if not isinstance(sort, str) else [SortBy(field=sort, direction="asc" if order == "asc" else "desc")]
    if not levels and order == "asc":
        levels = [SortBy(field="created_at", direction="asc")]
    for level in levels or ():
        column = column_named(level.field, columns)
        statement = statement.order_by((column.asc() if level.direction == "asc" else column.desc()).nulls_last())
    every = table.__table__.columns
    if "created_at" in every:
        statement = statement.order_by(every["created_at"].desc())
    return statement.order_by(table.id.desc())
