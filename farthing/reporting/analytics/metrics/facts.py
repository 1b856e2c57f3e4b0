"""From facts to cells: dated amounts are narrowed, split by dimensions and added up by bucket, in one statement.

A fact is a row with `at`, `value`, `customer_id` and columns named as dimensions. What a caller sends reaches a
statement as a parameter only; a statement is put together from the words of this package.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO
from farthing.reporting.analytics.catalogue import CURRENCY, METADATA
from farthing.reporting.analytics.definition import Question, ReportCondition
from farthing.reporting.analytics.periods import Timeline
from farthing.reporting.analytics.schemas import AnalyticsFilterOperator
from farthing.reporting.turns import owner_of_reports
from farthing.storage.postgres import scope_of

MOST_ROWS = 100_000
"""How many rows an answer may come to before its limit."""

Group = tuple[str, ...]
"""A value for each dimension of a question."""
Cells = Mapping[tuple[int, Group], Decimal]
"""The value of a metric by the number of a bucket and by group; what is missing is nothing."""


@dataclass(slots=True)
class Values:
    """What a statement is sent: the scope, the time asked about, and values of conditions as they are added."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any) -> str:
        """The word that stands for a value in the statement."""
        name = f"given_{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


def splitting(question: Question, values: Values) -> list[str]:
    """The expression of each dimension of the question."""
    return [expression_of(dimension, values) for dimension in question.dimensions]


def expression_of(dimension: str, values: Values) -> str:
    """A dimension of a fact `f` and its customer `c`; the empty text where there is none."""
    if dimension == "country":
        return "c.address_country"
    if dimension.startswith(METADATA):
        return f"coalesce(c.metadata->>{values.add(dimension.removeprefix(METADATA))}, '')"
    return f"coalesce(f.{dimension}, '')"


def narrowing(question: Question, values: Values) -> list[str]:
    """The conditions of the question, its currency among them."""
    conditions = [_condition(condition, values) for condition in question.conditions]
    if question.currency is not None:
        conditions.append(f"f.{CURRENCY} = {values.add(question.currency)}")
    return conditions


def _condition(condition: ReportCondition, values: Values) -> str:
    expression = expression_of(condition.field, values)
    wanted = list(condition.values)
    match condition.operator:
        case AnalyticsFilterOperator.EQUAL | AnalyticsFilterOperator.IN:
            return f"{expression} = ANY(CAST({values.add(wanted)} AS text[]))"
        case AnalyticsFilterOperator.NOT_IN:
            return f"{expression} <> ALL(CAST({values.add(wanted)} AS text[]))"
        case AnalyticsFilterOperator.CONTAINS:
            return f"strpos(lower({expression}), lower({values.add(wanted[0])})) > 0"
        case AnalyticsFilterOperator.NOT_CONTAINS:
            return f"strpos(lower({expression}), lower({values.add(wanted[0])})) = 0"
    raise AssertionError(f"{condition.operator} was refused before")


def joined_customers(question: Question) -> str:
    """The join to customers, where something of them is asked."""
    asks = any(name == "country" or name.startswith(METADATA) for name in question.fields)
    return "JOIN customers AS c ON c.id = f.customer_id AND c.environment_id = :environment" if asks else ""


def scope_parameters(session: AsyncSession) -> dict[str, Any]:
    return {"environment": scope_of(session).environment_id}


async def sums(
    session: AsyncSession,
    question: Question,
    facts: str,
    timeline: Timeline,
    *,
    value: str = "sum(f.value)",
    given: Mapping[str, Any] = MappingProxyType({}),
    are_within: bool = False,
) -> Cells:
    """The facts of each bucket added up by group. `facts` may speak of `:environment`, `:since`, `:until`, `:edges` and
    of what is `given`.

    `are_within` says that all facts lie in the time that is asked about. To ask again would make the planner expect
    next to none of them, and join what belongs to them one by one.
    """
    values = Values()
    groups = splitting(question, values)
    conditions = narrowing(question, values)
    columns = ", ".join([*groups, value])
    statement = f"""
        SELECT width_bucket(f.at, CAST(:edges AS timestamptz[])) - 1 AS bucket, {columns}
        FROM ({facts}) AS f {joined_customers(question)}
        WHERE {" AND ".join(["true" if are_within else "f.at >= :since AND f.at < :until", *conditions])}
        GROUP BY {", ".join(str(number + 1) for number in range(len(groups) + 1))}
    """
    parameters = {
        **scope_parameters(session),
        **values.parameters,
        **given,
        "edges": list(timeline.edges),
        "since": timeline.start,
        "until": timeline.end,
    }
    return await read_cells(session, statement, parameters)


async def totals_at_ends(
    session: AsyncSession, question: Question, changes: str, timeline: Timeline, given: Mapping[str, Any]
) -> Cells:
    """The sum of all changes before the end of each bucket, by group; a group that stands at nothing is left out."""
    values = Values()
    groups = splitting(question, values)
    conditions = narrowing(question, values)
    columns = ", ".join([*groups, "sum(f.value)"])
    statement = f"""
        SELECT width_bucket(f.at, CAST(:ends AS timestamptz[])) AS bucket, {columns}
        FROM ({changes}) AS f {joined_customers(question)}
        WHERE f.at < :until {"".join(f" AND {condition}" for condition in conditions)}
        GROUP BY {", ".join(str(number + 1) for number in range(len(groups) + 1))}
    """
    parameters = {
        **scope_parameters(session),
        **values.parameters,
        **given,
        "ends": list(timeline.ends),
        "until": timeline.end,
    }
    changed = await read_cells(session, statement, parameters)
    return await accumulated(changed, len(timeline.ends), owner_of_reports(session))


async def accumulated(changes: Cells, buckets: int, owner: str) -> Cells:
    """From changes by bucket to what they have come to at the end of each bucket."""
    by_group: dict[Group, dict[int, Decimal]] = defaultdict(dict)
    totals: dict[tuple[int, Group], Decimal] = {}

    def added_up() -> Iterator[None]:
        for (bucket, group), change in changes.items():
            by_group[group][bucket] = change
            yield
        for group, theirs in by_group.items():
            total = ZERO
            for bucket in range(buckets):
                total = EXACT.add(total, theirs.get(bucket, ZERO))
                if total:
                    totals[bucket, group] = total
                    require_few(totals)
            yield

    await collect(added_up(), owner)
    return totals


async def read_cells(session: AsyncSession, statement: str, parameters: Mapping[str, Any]) -> Cells:
    """The cells that a statement answers: bucket, dimensions and value. Raises ValidationFailed for too many."""
    rows = await session.execute(text(f"{statement} LIMIT {MOST_ROWS + 1}"), parameters)
    found = (((bucket, tuple(group)), None if amount is None else Decimal(amount)) for bucket, *group, amount in rows)
    read = await collect(found, owner_of_reports(session))
    cells = {cell: amount for cell, amount in read if amount is not None}
    require_few(cells)
    return cells


def require_few(cells: Cells) -> None:
    """Refuse an answer of too many rows. Raises ValidationFailed."""
    if len(cells) > MOST_ROWS:
        raise ValidationFailed.of("dimensions", f"would make more than {MOST_ROWS:,} rows; ask for less at a time")


def buckets_holding(timeline: Timeline, moments: Sequence[datetime]) -> Iterator[int]:
    """For moments in order within the timeline, the number of the bucket that holds each."""
    bucket = 0
    for moment in moments:
        while moment >= timeline.edges[bucket + 1]:
            bucket += 1
        yield bucket


def currency_digits(column: str) -> str:
    """The number of minor digits of a currency, as an expression."""
    cases = []
    for count in sorted(set(currency.DIGITS.values())):
        codes = ", ".join(f"'{code}'" for code, digits in currency.DIGITS.items() if digits == count)
        cases.append(f"WHEN {column} IN ({codes}) THEN {count}")
    return f"CASE {' '.join(cases)} ELSE {currency.DEFAULT_DIGITS} END"
