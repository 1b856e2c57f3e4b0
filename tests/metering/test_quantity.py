"""What one event counts for one meter."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.windows import WindowSize
from farthing.core.money import decimals
from farthing.metering.canonical import QuantityError
from farthing.metering.event import UsageEvent
from farthing.metering.filters import Filter
from farthing.metering.meter import Aggregation, AggregationType, Meter
from farthing.metering.quantity import MeasuredQuantity, quantity_of

NOT_NUMERIC, OUT_OF_RANGE = QuantityError.NOT_NUMERIC, QuantityError.OUT_OF_RANGE
TEXT_LIKE_PYTHON_DECIMALS = ["1_0", "٣", "Infinity", "sNaN"]


def event(properties: dict[str, Any], name: str = "call") -> UsageEvent:
    return UsageEvent(
        id="e1",
        event_name=name,
        external_customer_id="c1",
        timestamp=datetime(2024, 1, 15, 10, tzinfo=UTC),
        properties=properties,
    )


def meter(type: AggregationType, field: str | None = "x", filters: tuple[Filter, ...] = (), **given: Any) -> Meter:
    return Meter("meter_1", "call", Aggregation(type, field, **given), filters)


COUNT = meter(AggregationType.COUNT)
SUM = meter(AggregationType.SUM)
UNIQUE = meter(AggregationType.COUNT_UNIQUE)
THOUSAND = meter(AggregationType.SUM_WITH_MULTIPLIER, multiplier=Decimal(1000))
LEVEL = meter(AggregationType.WEIGHTED_SUM)
GROUPED = meter(AggregationType.MAX, bucket_size=WindowSize.HOUR, group_by="r")


def counts(quantity: str | int, key: str = "", error: QuantityError | None = None) -> MeasuredQuantity:
    return MeasuredQuantity(Decimal(quantity), key, error)


@pytest.mark.parametrize(
    ("meter", "properties", "expected"),
    [
        pytest.param(COUNT, {}, counts(1), id="COUNT: every event is 1"),
        pytest.param(COUNT, {"x": "abc"}, counts(1), id="COUNT: the field is ignored"),
        pytest.param(SUM, {"x": 5}, counts(5), id="A3: a number"),
        pytest.param(SUM, {"x": "5.5"}, counts("5.5"), id="A3: numeric text"),
        pytest.param(SUM, {}, counts(0), id="A3: missing is 0, without a flag"),
        pytest.param(SUM, {"x": None}, counts(0, error=NOT_NUMERIC), id="A3: null is 0, flagged"),
        pytest.param(SUM, {"x": "abc"}, counts(0, error=NOT_NUMERIC), id="A3: words are 0, flagged"),
        pytest.param(SUM, {"x": True}, counts(0, error=NOT_NUMERIC), id="A3: true is 0, flagged"),
        pytest.param(SUM, {"x": " 7 "}, counts(7), id="A3: text with spaces"),
        pytest.param(SUM, {"x": "1e3"}, counts(1000), id="A3: text with an exponent"),
        pytest.param(SUM, {"x": -4}, counts(0), id="A6: a negative counts 0"),
        pytest.param(SUM, {"x": "0." + "4" * 16}, counts("0." + "4" * 15), id="15 digits are kept"),
        pytest.param(SUM, {"x": "0.0000000000000005"}, counts("0.000000000000001"), id="half goes up"),
        pytest.param(SUM, {"x": "0.00000000000000049" + "9" * 60}, counts(0), id="rounded once, not twice"),
        pytest.param(SUM, {"x": "9" * 23}, counts("9" * 23), id="23 integer digits are kept"),
        pytest.param(SUM, {"x": 10**23}, counts(0, error=OUT_OF_RANGE), id="24 integer digits are refused"),
        pytest.param(SUM, {"x": "9" * 23 + ".9999999999999995"}, counts(0, error=OUT_OF_RANGE), id="or rounded into"),
        pytest.param(THOUSAND, {"x": "2.5"}, counts(2500), id="A14: times the multiplier"),
        pytest.param(THOUSAND, {"x": "0.0000000000000000005"}, counts("0.000000000000001"), id="rounded after it"),
        pytest.param(THOUSAND, {"x": -1}, counts(0), id="a negative times the multiplier counts 0"),
        pytest.param(THOUSAND, {"x": 10**22}, counts(0, error=OUT_OF_RANGE), id="a product of 26 digits is refused"),
        pytest.param(THOUSAND, {}, counts(0), id="missing times the multiplier is 0"),
        pytest.param(LEVEL, {"x": -2}, counts(-2), id="a level may fall"),
        pytest.param(LEVEL, {"x": "-0.0000000000000005"}, counts("-0.000000000000001"), id="half goes away from zero"),
        pytest.param(LEVEL, {"x": False}, counts(0, error=NOT_NUMERIC), id="a level changes by numbers only"),
        pytest.param(UNIQUE, {"x": "a"}, counts(1, "a"), id="A9: a text is a key"),
        pytest.param(UNIQUE, {"x": 5}, counts(1, "5"), id="A9: 5 and "),
        pytest.param(UNIQUE, {"x": "5"}, counts(1, "5"), id="A9: '5' are one key"),
        pytest.param(UNIQUE, {"x": Decimal("5.0")}, counts(1, "5"), id="and so is 5.0"),
        pytest.param(UNIQUE, {"x": True}, counts(1, "true"), id="a boolean is a key"),
        pytest.param(UNIQUE, {"x": ""}, counts(1, ""), id="empty text is a key"),
        pytest.param(UNIQUE, {}, None, id="A9: no key, not counted"),
        pytest.param(UNIQUE, {"x": None}, None, id="A9: null is no key"),
        pytest.param(UNIQUE, {"x": ["a"]}, None, id="a list is no key"),
        pytest.param(GROUPED, {"x": 10, "r": "a"}, counts(10, "a"), id="A17: the group is a text"),
        pytest.param(GROUPED, {"x": 10, "r": 7}, counts(10, "7"), id="a number's group is its text"),
        pytest.param(GROUPED, {"x": 10}, counts(10, ""), id="without the property: the empty group"),
        pytest.param(GROUPED, {"x": 10, "r": None}, counts(10, ""), id="null: the empty group"),
        pytest.param(GROUPED, {"x": "?", "r": "a"}, counts(0, "a", NOT_NUMERIC), id="a flagged event has its group"),
        pytest.param(GROUPED, {"x": -1, "r": "a"}, counts(0, "a"), id="so has a negative one"),
    ],
)
def test_quantity(meter: Meter, properties: dict[str, Any], expected: MeasuredQuantity | None) -> None:
    assert quantity_of(meter, event(properties)) == expected


@pytest.mark.parametrize("zero", ["-0", Decimal("-0.0"), "-0.0000000000000001", "0e99"])
def test_zero_has_no_sign_and_no_exponent(zero: object) -> None:
    measured = quantity_of(LEVEL, event({"x": zero}))
    assert measured is not None
    assert str(measured.quantity) == "0"


@pytest.mark.parametrize("type", [AggregationType.AVG, AggregationType.MAX, AggregationType.LATEST])
@pytest.mark.parametrize("properties", [{"x": "1e2"}, {"x": -1}, {}, {"x": "n/a"}, {"x": Decimal("0.1")}])
def test_these_types_measure_one_event_like_sum(type: AggregationType, properties: dict[str, Any]) -> None:
    assert quantity_of(meter(type), event(properties)) == quantity_of(SUM, event(properties))


@pytest.mark.parametrize(
    ("expression", "properties", "expected"),
    [
        pytest.param("ceil(x / 1000)", {"x": 8100}, counts(9), id="A32: seconds begun"),
        pytest.param("ceil(x / 1000)", {}, counts(0), id="A32: missing is 0"),
        pytest.param("ceil(x / 1000)", {"x": "abc"}, None, id="A32: not a number, no row"),
        pytest.param("a / b", {"a": 1}, None, id="A32: division by zero, no row"),
        pytest.param("a - b", {"a": 1, "b": 3}, counts(0), id="A32: a negative counts 0"),
        pytest.param("a / 3", {"a": 2}, counts("0.666666666666667"), id="rounded half up to 15 digits"),
        pytest.param("a * a", {"a": 10**12}, None, id="beyond 23 integer digits, no row"),
    ],
)
def test_expressions(expression: str, properties: dict[str, Any], expected: MeasuredQuantity | None) -> None:
    assert quantity_of(meter(AggregationType.SUM, None, expression=expression), event(properties)) == expected


def test_the_event_name_is_compared_exactly() -> None:
    assert quantity_of(COUNT, event({}, name="Call")) is None
    assert quantity_of(COUNT, event({}, name="call")) == counts(1)


def test_filters_decide_whether_an_event_counts() -> None:
    gpt = meter(AggregationType.COUNT, filters=(Filter("model", ("gpt",)),))
    assert quantity_of(gpt, event({"model": "gpt"})) == counts(1)
    assert quantity_of(gpt, event({"model": "x"})) is None


METERS = st.sampled_from(
    [
        *(COUNT, SUM, UNIQUE, THOUSAND, LEVEL, GROUPED),
        meter(AggregationType.AVG, None, expression="x / r"),
        meter(AggregationType.SUM_WITH_MULTIPLIER, multiplier=Decimal("1e-15")),
    ]
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(TEXT_LIKE_PYTHON_DECIMALS)
    | st.decimals()
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.lists(st.integers(), max_size=2)
)


@given(METERS, st.dictionaries(st.sampled_from(["x", "r"]), VALUES))
@settings(max_examples=300)
def test_whatever_comes_in_a_row_fits_its_column(meter: Meter, properties: dict[str, Any]) -> None:
    measured = quantity_of(meter, event(properties))
    if measured is None:
        return
    assert measured.quantity.is_finite()
    assert abs(measured.quantity) < 10**23
    assert decimals(measured.quantity) <= 15
    assert measured.quantity >= 0 or meter is LEVEL
    assert measured.quantity == 0 or measured.quantity_error is None


@given(st.decimals(min_value=0, max_value=Decimal(10) ** 22, places=15))
@settings(max_examples=100)
def test_a_quantity_that_fits_is_kept_to_the_last_digit(x: Decimal) -> None:
    assert quantity_of(SUM, event({"x": x})) == quantity_of(SUM, event({"x": str(x)})) == MeasuredQuantity(x)
