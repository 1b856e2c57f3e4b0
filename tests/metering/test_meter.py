"""What a meter may be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from farthing.calendar.windows import WindowSize
from farthing.core.errors import ValidationFailed
from farthing.metering.filters import Filter
from farthing.metering.meter import Aggregation, AggregationType, Meter, sharing

NEEDS_FIELD = [type for type in AggregationType if type is not AggregationType.COUNT]
NO_EXPRESSION = [
    AggregationType.COUNT,
    AggregationType.COUNT_UNIQUE,
    AggregationType.SUM_WITH_MULTIPLIER,
    AggregationType.WEIGHTED_SUM,
]
NO_BUCKET = [type for type in AggregationType if type not in {AggregationType.MAX, AggregationType.SUM}]


def aggregation(type: AggregationType, **given: Any) -> Aggregation:
    if type is AggregationType.SUM_WITH_MULTIPLIER:
        given.setdefault("multiplier", Decimal(1))
    return Aggregation(type, **given)


def refused(type: AggregationType, **given: Any) -> dict[str, Any]:
    with pytest.raises(ValidationFailed) as failed:
        aggregation(type, **given)
    return failed.value.details


@pytest.mark.parametrize("type", NEEDS_FIELD)
def test_every_type_but_count_needs_a_field(type: AggregationType) -> None:
    assert list(refused(type)) == ["aggregation.field"]
    assert list(refused(type, field="")) == ["aggregation.field"]
    assert aggregation(type, field="x").field == "x"


def test_count_needs_nothing_and_ignores_a_field() -> None:
    assert aggregation(AggregationType.COUNT).formula is None
    assert aggregation(AggregationType.COUNT, field="x").field == "x"


@pytest.mark.parametrize("type", NO_EXPRESSION)
def test_these_types_take_no_expression(type: AggregationType) -> None:
    assert list(refused(type, expression="a + 1")) == ["aggregation.expression"]


def test_an_expression_excludes_a_field() -> None:
    assert refused(AggregationType.SUM, field="a", expression="a + 1") == {
        "aggregation.expression": "cannot be given together with field"
    }


def test_a_bad_expression_says_where() -> None:
    assert refused(AggregationType.SUM, expression="a % 2") == {
        "aggregation.expression": "invalid aggregation expression: "
        "the remainder operator % is not part of the language at character 3"
    }


@pytest.mark.parametrize(
    "multiplier",
    [
        pytest.param(None, id="missing"),
        pytest.param(Decimal(0), id="zero"),
        pytest.param(Decimal(-1), id="negative"),
        pytest.param(Decimal("NaN"), id="not a number"),
        pytest.param(Decimal("1e21"), id="out of range"),
    ],
)
def test_a_multiplier_must_be_a_positive_number(multiplier: Decimal | None) -> None:
    assert list(refused(AggregationType.SUM_WITH_MULTIPLIER, field="x", multiplier=multiplier)) == [
        "aggregation.multiplier"
    ]


@pytest.mark.parametrize("type", NO_BUCKET)
def test_only_max_and_sum_have_buckets(type: AggregationType) -> None:
    assert list(refused(type, field="x", bucket_size=WindowSize.HOUR)) == ["aggregation.bucket_size"]


@pytest.mark.parametrize(
    ("type", "given"),
    [
        pytest.param(AggregationType.SUM, {"bucket_size": WindowSize.HOUR, "group_by": "r"}, id="a SUM with buckets"),
        pytest.param(AggregationType.MAX, {"group_by": "r"}, id="a MAX without buckets"),
        pytest.param(
            AggregationType.MAX, {"bucket_size": WindowSize.HOUR, "group_by": "a b"}, id="a name with a space"
        ),
        pytest.param(
            AggregationType.MAX, {"bucket_size": WindowSize.HOUR, "group_by": "a\n"}, id="a name with a newline"
        ),
    ],
)
def test_groups_are_for_bucketed_max_with_a_plain_name(type: AggregationType, given: dict[str, Any]) -> None:
    assert list(refused(type, field="x", **given)) == ["aggregation.group_by"]


def test_all_violations_are_named_at_once() -> None:
    assert set(refused(AggregationType.COUNT_UNIQUE, bucket_size=WindowSize.DAY, group_by="r")) == {
        "aggregation.field",
        "aggregation.bucket_size",
        "aggregation.group_by",
    }


def test_a_meter_needs_an_event_name() -> None:
    with pytest.raises(ValidationFailed):
        Meter("meter_1", "  ", Aggregation(AggregationType.COUNT))


def test_equal_meters_are_equal_values() -> None:
    def build() -> Meter:
        sum_of = Aggregation(AggregationType.SUM, expression="a + 1")
        return Meter("meter_1", "call", sum_of, (Filter("k", ("v",)),))

    assert build() == build()
    assert len({build(), build()}) == 1


@pytest.mark.parametrize(
    ("filters", "shared"),
    [
        pytest.param(((), ()), True, id="all events of a name"),
        pytest.param(((), (("model", "large"),)), True, id="all of them, and some"),
        pytest.param(((("model", "large"),), (("model", "small"),)), False, id="other values of a property"),
        pytest.param(((("model", "large", "small"),), (("model", "small"),)), True, id="a value in common"),
        pytest.param(((("model", "large"),), (("region", "eu"),)), True, id="other properties"),
    ],
)
def test_meters_share_events_unless_a_property_keeps_them_apart(filters: tuple[Any, Any], shared: bool) -> None:
    meters = [
        Meter(f"m{number}", "call", Aggregation(AggregationType.COUNT), tuple(Filter(key, rest) for key, *rest in each))
        for number, each in enumerate(filters)
    ]
    elsewhere = Meter("m2", "seat", Aggregation(AggregationType.COUNT))
    assert sharing([*meters, elsewhere]) == (frozenset({"m0", "m1"}) if shared else frozenset())
