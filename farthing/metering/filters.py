"""Filters on properties: which events a meter, or a query, takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farthing.core.errors import ValidationFailed
from farthing.metering.canonical import canonical_text


@dataclass(frozen=True, slots=True)
class Filter:
    """One property and the canonical texts it may have; any one of them will do."""

    key: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.key:
            raise ValidationFailed.of("filters.key", "is required")
        if not self.values:
            raise ValidationFailed.of("filters.values", f"needs at least one value for key '{self.key}'")


# Filters ready to run: what every event of a meter's name is held against.
Conditions = tuple[tuple[str, frozenset[str]], ...]


def conditions(filters: Iterable[Filter]) -> Conditions:
    """`filters` in the form that `matches` runs."""
    return tuple((condition.key, frozenset(condition.values)) for condition in filters)


def matches(wanted: Conditions, properties: Mapping[str, object]) -> bool:
    """Whether all conditions hold: the key is present and its canonical text is one of the values, exactly.

    No conditions, no objection.
    Rule: docs/rules/metering.md#meter-filters
    """
    for key, values in wanted:
        value = properties.get(key)
        text = value if type(value) is str else canonical_text(value)
        if text is None or text not in values:
            return False
    return True
