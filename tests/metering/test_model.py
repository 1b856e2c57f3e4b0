"""How quantities fold into usage: the semantic reference that every event store is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_containing
from farthing.core.clock import instant
from farthing.metering.event import UsageEvent, same_content
from farthing.metering.filters import Filter, conditions
from farthing.metering.meter import Aggregation, AggregationType, Meter, ResetUsage
from farthing.metering.model import (
    BucketValue,
    Point,
    Selection,
    Usage,
    aggregate,
    buckets,
    live,
    points,
    since_beginning,
)

NEW_YORK = ZoneInfo("America/New_York")
type_of = AggregationType


def at(text: str) -> datetime:
    """`2024-01-15T10:00`, in UTC; a bare time is on 2024-01-15."""
    return datetime.fromisoformat(text if "T" in text else f"2024-01-15T{text}").replace(tzinfo=UTC)


def sent(time: str, id: str | None = None, customer: str = "c1", source: str = "", **properties: Any) -> UsageEvent:
    return UsageEvent(
        id=id or f"{customer}-{time}-{properties}",
        event_name="call",
        external_customer_id=customer,
        timestamp=at(time),
        properties=properties,
        source=source,
    )


def each(*values: Any) -> list[UsageEvent]:
    """One event a minute with `x` of that value; `...` leaves x out."""
    return [
        sent(f"10:{minute:02}", id=f"e{minute}", **({} if value is ... else {"x": value}))
        for minute, value in enumerate(values)
    ]


def meter(type: AggregationType, reset: ResetUsage = ResetUsage.BILLING_PERIOD, **given: Any) -> Meter:
    if "expression" not in given:
        given.setdefault("field", "x")
    filters = given.pop("filters", ())
    return Meter("meter_1", "call", Aggregation(type, **given), filters, reset)


COUNT, SUM, AVG, MAX = (meter(t) for t in (type_of.COUNT, type_of.SUM, type_of.AVG, type_of.MAX))
UNIQUE, LATEST, LEVEL = (meter(t) for t in (type_of.COUNT_UNIQUE, type_of.LATEST, type_of.WEIGHTED_SUM))
LIVING_LEVEL = meter(type_of.WEIGHTED_SUM, ResetUsage.NEVER)
THOUSAND = meter(type_of.SUM_WITH_MULTIPLIER, multiplier=Decimal(1000))
HOURLY_MAX = meter(type_of.MAX, bucket_size=WindowSize.HOUR)
GROUPED_MAX = meter(type_of.MAX, bucket_size=WindowSize.HOUR, group_by="r")
QUARTERLY_SUM = meter(type_of.SUM, bucket_size=WindowSize.QUARTER_HOUR)
GPT = meter(type_of.COUNT, filters=(Filter("model", ("gpt",)),))
CEIL = meter(type_of.SUM, expression="ceil(x / 1000)")

JANUARY = Selection(at("2024-01-01T00:00"), at("2024-02-01T00:00"))


def cut(size: WindowSize, zone: str = "UTC") -> Callable[[datetime], Period]:
    return partial(window_containing, size=size, zone=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("meter", "events", "value", "event_count"),
    [
        pytest.param(
            COUNT,
            [sent("10:00", "e1"), sent("10:05", "e2"), sent("10:00", "e1")],
            "2",
            2,
            id="A1: an event sent twice counts once",
        ),
        pytest.param(
            SUM,
            [sent("10:00", "e1", x=Decimal("5.2")), sent("10:05", "e2", x="3.8"), sent("10:10", "e1", x="7.1")],
            "10.9",
            2,
            id="A2: sent again with a new time, the last one counts",
        ),
        pytest.param(SUM, each(5, "5.5", ..., None, "abc", True, " 7 ", "1e3"), "1017.5", 8, id="A3: odd values"),
        pytest.param(SUM, each(*[Decimal("0.1")] * 10), "1", 10, id="A4: ten tenths are one"),
        pytest.param(SUM, each(9007199254740993, "1"), "9007199254740994", 2, id="A5: large integers"),
        pytest.param(SUM, each(10, -4, 3), "13", 3, id="A6: negatives count 0"),
        pytest.param(AVG, each(10, 20, 30, 40, -1, 0), "16.666666666666667", 6, id="A7: the mean, half up"),
        pytest.param(AVG, each(10, ..., 20), "10", 3, id="A8: a missing value divides all the same"),
        pytest.param(UNIQUE, each("a", "b", "a", ..., None, 5, "5"), "3", 5, id="A9: unique values"),
        pytest.param(
            LATEST,
            [sent("10:00", x=1), sent("12:00", x=2), sent("09:00", x=3), sent("12:00", x=4)],
            "4",
            4,
            id="A12: of one millisecond the last accepted",
        ),
        pytest.param(
            LATEST,
            [sent("12:00", x=4), sent("12:00:00.500", x=7), sent("12:00:00.200", x=9)],
            "7",
            3,
            id="A12: the latest by its own time, whenever it came",
        ),
        pytest.param(
            LATEST,
            [sent("12:00", "e2", x=2), sent("12:00", "e4", x=4), sent("12:00", "e2", x=2)],
            "4",
            2,
            id="the same content again is not a newer version",
        ),
        pytest.param(
            LATEST,
            [sent("12:00", "e2", x=2), sent("12:00", "e4", x=4), sent("12:00", "e2", x=3)],
            "3",
            2,
            id="other content is",
        ),
        pytest.param(MAX, each(5, 3, 9), "9", 3, id="A13: the largest"),
        pytest.param(MAX, each(-5, -3), "0", 2, id="A13: never below 0"),
        pytest.param(THOUSAND, each(10, "2.5"), "12500", 2, id="A14: with multiplier"),
        pytest.param(CEIL, each(4200, 8100, "500"), "15", 3, id="A32: an expression"),
        pytest.param(CEIL, each("abc", ...), "0", 1, id="A32: without a value there is no row"),
        pytest.param(
            GPT,
            [sent("10:00", "1", model="gpt"), sent("10:01", "2", model="gpt"), sent("10:02", "3", model="x")],
            "2",
            2,
            id="A39: the meter's own filters",
        ),
        pytest.param(
            COUNT,
            [
                sent("2024-01-01T00:00:00.000"),
                sent("2024-01-31T23:59:59.999"),
                sent("2024-02-01T00:00"),
                sent("2023-12-31T23:59:59.999"),
            ],
            "2",
            2,
            id="A30: the start is in, the end is out",
        ),
        pytest.param(LEVEL, [sent("2024-01-01T00:00", x=5), sent("2024-02-01T00:00", x=7)], "5", 1, id="so for levels"),
        pytest.param(LEVEL, [sent("2024-01-01T00:00", x=-5)], "0", 1, id="a mean level is never below 0"),
    ],
)
def test_one_value(meter: Meter, events: list[UsageEvent], value: str, event_count: int) -> None:
    assert aggregate(meter, events, JANUARY) == Usage(Decimal(value), event_count)


@pytest.mark.parametrize(
    "type", [aggregation for aggregation in AggregationType if aggregation is not type_of.SUM_WITH_MULTIPLIER]
)
def test_nothing_is_zero(type: AggregationType) -> None:
    assert aggregate(meter(type), [], JANUARY) == Usage(Decimal(0), 0)


def test_a10_unique_values_of_days_do_not_add_up() -> None:
    events = [sent(f"2024-01-0{day}T12:00", x=user) for day, user in [(1, "a"), (1, "b"), (2, "a"), (2, "c")]]
    series = points(UNIQUE, events, JANUARY, cut(WindowSize.DAY))
    assert [(int(point.value), point.event_count) for point in series] == [(2, 2), (2, 2)]
    assert aggregate(UNIQUE, events, JANUARY).value == 3


def test_a11_unique_values_are_counted_over_all_customers_together() -> None:
    events = [
        sent("10:00", customer=customer, x=user)
        for customer, user in [("c1", "a"), ("c1", "b"), ("c2", "b"), ("c2", "d"), ("c3", "e")]
    ]
    both = Selection(JANUARY.start, JANUARY.end, customers=frozenset({"c1", "c2"}))
    assert aggregate(UNIQUE, events, both).value == 3
    assert aggregate(UNIQUE, events, Selection(JANUARY.start, JANUARY.end, customers=frozenset())).value == 0


def test_a13_the_largest_of_each_day_and_of_all() -> None:
    events = [sent("2024-01-01T10:00", x=5), sent("2024-01-01T11:00", x=3), sent("2024-01-02T10:00", x=9)]
    assert points(MAX, events, JANUARY, cut(WindowSize.DAY)) == [
        Point(at("2024-01-01T00:00"), Decimal(5), 2),
        Point(at("2024-01-02T00:00"), Decimal(9), 1),
    ]
    assert aggregate(MAX, events, JANUARY).value == 9


A15 = [sent("07:30", x=8), sent("07:45", x=4), sent("08:15", x=10), sent("08:30", x=5), sent("08:45", x=9)]
A17 = [sent("10:00", x=10, r="a"), sent("10:30", x=20, r="b"), sent("11:15", x=15, r="a")]
A18 = [sent("10:01", x=4), sent("10:14", x=3), sent("10:15", x=6)]


@pytest.mark.parametrize(
    ("meter", "events", "expected", "total"),
    [
        pytest.param(HOURLY_MAX, A15, [("07:00", "", 8), ("08:00", "", 10)], 18, id="A15: the largest of each hour"),
        pytest.param(
            GROUPED_MAX,
            A17,
            [("10:00", "a", 10), ("10:00", "b", 20), ("11:00", "a", 15)],
            45,
            id="A17: the largest of each hour and group",
        ),
        pytest.param(HOURLY_MAX, A17, [("10:00", "", 20), ("11:00", "", 15)], 35, id="A17: without groups"),
        pytest.param(QUARTERLY_SUM, A18, [("10:00", "", 7), ("10:15", "", 6)], 13, id="A18: sums of quarter hours"),
    ],
)
def test_buckets(meter: Meter, events: list[UsageEvent], expected: Sequence[tuple[str, str, int]], total: int) -> None:
    bucket_of = cut(meter.aggregation.bucket_size or WindowSize.HOUR)
    found = buckets(meter, events, JANUARY, bucket_of)
    assert [(point.start, point.group, point.value) for point in found] == [
        (at(s), g, Decimal(v)) for s, g, v in expected
    ]
    assert aggregate(meter, events, JANUARY, bucket_of) == Usage(Decimal(total), len(events))


@pytest.mark.parametrize(
    ("day", "total"),
    [
        pytest.param("2025-11-02", 9, id="A25: in autumn both fall into the first three hours"),
        pytest.param("2025-03-09", 13, id="A25: in spring into two buckets"),
    ],
)
def test_buckets_on_a_day_of_clock_change(day: str, total: int) -> None:
    events = [sent(f"{day}T06:30", x=4), sent(f"{day}T07:30", x=9)]
    year = Selection(at("2025-01-01T00:00"), at("2026-01-01T00:00"))
    three_hours = meter(type_of.MAX, bucket_size=WindowSize.THREE_HOURS)
    assert aggregate(three_hours, events, year, cut(WindowSize.THREE_HOURS, "America/New_York")).value == total


def test_a24_a_repeated_hour_is_two_points() -> None:
    events = [sent("2025-11-02T05:30"), sent("2025-11-02T06:30")]
    year = Selection(at("2025-01-01T00:00"), at("2026-01-01T00:00"))
    series = points(COUNT, events, year, cut(WindowSize.HOUR, "America/New_York"))
    assert [(instant(point.start), int(point.value)) for point in series] == [
        ("2025-11-02T05:00:00Z", 1),
        ("2025-11-02T06:00:00Z", 1),
    ]


def test_the_range_is_cut_first_and_the_point_keeps_its_windows_start() -> None:
    asked = Selection(at("10:30"), at("12:00"))
    assert points(SUM, [sent("10:29", x=1), sent("10:31", x=2)], asked, cut(WindowSize.HOUR)) == [
        Point(at("10:00"), Decimal(2), 1)
    ]
    assert buckets(HOURLY_MAX, [sent("10:29", x=9), sent("10:31", x=2)], asked, cut(WindowSize.HOUR)) == [
        BucketValue(at("10:00"), "", Decimal(2), 1)
    ]


@pytest.mark.parametrize(
    ("meter", "events", "value", "event_count"),
    [
        pytest.param(HOURLY_MAX, A15, "10", 5, id="the largest bucket of a MAX"),
        pytest.param(GROUPED_MAX, A17, "30", 3, id="the largest bucket, its groups added"),
        pytest.param(QUARTERLY_SUM, A18, "13", 3, id="the buckets of a SUM added"),
    ],
)
def test_points_are_rolled_up_from_buckets(
    meter: Meter, events: list[UsageEvent], value: str, event_count: int
) -> None:
    bucket_of = cut(meter.aggregation.bucket_size or WindowSize.HOUR)
    series = points(meter, events, JANUARY, cut(WindowSize.DAY), bucket_of)
    assert series == [Point(at("00:00"), Decimal(value), event_count)]


APRIL = Selection(at("2025-04-01T00:00"), at("2025-05-01T00:00"))
BEFORE_APRIL = [sent("2025-03-10T00:00", x=12), sent("2025-03-11T00:00", x=-2)]


@pytest.mark.parametrize(
    ("meter", "events", "start", "end", "value"),
    [
        pytest.param(
            LEVEL,
            [sent(f"2025-08-{day}T00:00", x=change) for day, change in [(16, 20), (18, 10), (20, 10), (25, 5)]],
            "2025-07-31T18:30",
            "2025-08-31T18:30",
            "19.506048387096774",
            id="A19: a level that rises four times",
        ),
        pytest.param(
            LIVING_LEVEL,
            [*BEFORE_APRIL, sent("2025-04-11T00:00", x=5), sent("2025-04-21T00:00", x=-3)],
            "2025-04-01T00:00",
            "2025-05-01T00:00",
            "12.333333333333333",
            id="A20: the level is carried over",
        ),
        pytest.param(
            LEVEL,
            [*BEFORE_APRIL, sent("2025-04-11T00:00", x=5), sent("2025-04-21T00:00", x=-3)],
            "2025-04-01T00:00",
            "2025-05-01T00:00",
            "2.333333333333333",
            id="A20: or each period starts from 0",
        ),
        pytest.param(
            LIVING_LEVEL,
            [*BEFORE_APRIL, sent("2025-04-16T00:00", x=-10)],
            "2025-04-01T00:00",
            "2025-05-01T00:00",
            "5",
            id="A21: released half way",
        ),
        pytest.param(
            LEVEL,
            [sent("2025-03-16T04:00", x=24)],
            "2025-03-01T05:00",
            "2025-04-01T04:00",
            "12.403768506056528",
            id="A22: elapsed time, in a month with a clock change",
        ),
        pytest.param(
            LIVING_LEVEL, BEFORE_APRIL, "2025-04-01T00:00", "2025-05-01T00:00", "10", id="no event: the level"
        ),
        pytest.param(LIVING_LEVEL, BEFORE_APRIL, "2025-04-01T00:00", "2025-04-01T00:00", "0", id="no time at all: 0"),
        pytest.param(
            LIVING_LEVEL,
            [sent("2025-03-10T00:00", x=-7), sent("2025-04-16T00:00", x=4)],
            "2025-04-01T00:00",
            "2025-05-01T00:00",
            "2",
            id="a carried level is at least 0",
        ),
    ],
)
def test_mean_levels(meter: Meter, events: list[UsageEvent], start: str, end: str, value: str) -> None:
    assert aggregate(meter, events, Selection(at(start), at(end))).value == Decimal(value)


def test_points_of_a_level_start_from_the_level_reached() -> None:
    events = [*BEFORE_APRIL, sent("2025-04-11T12:00", x=5), sent("2025-04-21T00:00", x=-3)]
    assert points(LIVING_LEVEL, events, APRIL, cut(WindowSize.DAY)) == [
        Point(at("2025-04-11T00:00"), Decimal("12.5"), 1),
        Point(at("2025-04-21T00:00"), Decimal(12), 1),
    ]
    assert [point.value for point in points(LEVEL, events, APRIL, cut(WindowSize.DAY))] == [Decimal("2.5"), 2]


def test_a36_one_user_in_two_ranges_counts_in_both() -> None:
    events = [sent("2025-04-05T00:00", x="a"), sent("2025-04-20T00:00", x="a")]
    change = at("2025-04-11T00:00")
    assert aggregate(UNIQUE, events, Selection(APRIL.start, change)).value == 1
    assert aggregate(UNIQUE, events, Selection(change, APRIL.end)).value == 1
    sums = [sent("2025-04-10T23:59:59.999", x=3), sent("2025-04-11T00:00", x=4)]
    assert aggregate(SUM, sums, Selection(APRIL.start, change)).value == 3
    assert aggregate(SUM, sums, Selection(change, APRIL.end)).value == 4


def test_a38_reset_never_answers_since_the_beginning_and_charges_keep_to_their_range() -> None:
    never = meter(type_of.COUNT_UNIQUE, ResetUsage.NEVER)
    events = [
        sent(f"2025-{month}-10T00:00", x=user) for month, user in [("03", "a"), ("03", "b"), ("04", "b"), ("04", "c")]
    ]
    assert since_beginning(never, events, APRIL).value == 3
    assert aggregate(never, events, APRIL).value == 2
    assert since_beginning(UNIQUE, events, APRIL).value == 2
    assert since_beginning(LIVING_LEVEL, BEFORE_APRIL, APRIL).value == 10


def test_queries_narrow_by_source_and_property() -> None:
    events = [
        sent("10:00", x=1, source="web", region="eu"),
        sent("10:01", x=2, source="app", region="eu"),
        sent("10:02", x=4, source="web", region="us"),
    ]
    span = (JANUARY.start, JANUARY.end)
    europe = conditions([Filter("region", ("eu",))])
    assert aggregate(SUM, events, Selection(*span, sources=frozenset({"web"}))).value == 5
    assert aggregate(SUM, events, Selection(*span, properties=europe)).value == 3
    assert aggregate(SUM, events, Selection(*span, sources=frozenset({"web"}), properties=europe)).value == 1


def test_a_correction_moves_an_event_to_another_customer_and_time() -> None:
    events = [sent("10:00", "e1", x=5), sent("2024-02-10T10:00", "e1", customer="c2", x=6)]
    assert aggregate(SUM, events, JANUARY) == Usage(Decimal(0), 0)
    february = Selection(at("2024-02-01T00:00"), at("2024-03-01T00:00"), customers=frozenset({"c2"}))
    assert aggregate(SUM, events, february) == Usage(Decimal(6), 1)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        pytest.param({"x": 5}, {"x": Decimal("5.0")}, True, id="numbers compare by value"),
        pytest.param({"x": 1}, {"x": True}, False, id="1 is not true"),
        pytest.param({"x": [1, {"y": 0}]}, {"x": [1, {"y": False}]}, False, id="nor is 0 false, however deep"),
        pytest.param({"x": [1, {"y": None}]}, {"x": [1, {"y": None}]}, True, id="nested values compare"),
        pytest.param({"x": None}, {}, False, id="null is not missing"),
        pytest.param({"x": "5"}, {"x": 5}, False, id="text is not a number"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, True, id="the order of keys means nothing"),
    ],
)
def test_same_content(first: dict[str, Any], second: dict[str, Any], same: bool) -> None:
    base = sent("10:00", "e1")
    one, other = (
        UsageEvent(
            id=base.id,
            event_name=base.event_name,
            external_customer_id=base.external_customer_id,
            timestamp=base.timestamp,
            properties=properties,
        )
        for properties in (first, second)
    )
    assert same_content(one, other) is same


METERS = st.sampled_from([COUNT, SUM, AVG, MAX, UNIQUE, LATEST, THOUSAND, LEVEL, LIVING_LEVEL])


def _somewhen(event_id: str, minutes: int, customer: str, x: Any) -> UsageEvent:
    moment = at("2024-01-01T00:00") + timedelta(minutes=minutes)
    return sent(moment.replace(tzinfo=None).isoformat(), event_id, customer, x=x)


STREAMS = st.lists(
    st.builds(
        _somewhen,
        st.sampled_from(["e1", "e2", "e3", "e4", "e5", "e6"]),
        st.integers(-2000, 50_000),
        st.sampled_from(["c1", "c2"]),
        st.integers(-5, 50) | st.decimals(0, 5, places=2) | st.sampled_from(["a", "7"]),
    ),
    max_size=12,
)


@given(METERS, STREAMS)
@settings(max_examples=150)
def test_sending_everything_again_changes_nothing(meter: Meter, events: list[UsageEvent]) -> None:
    standing = live(events)
    assert live([*events, *standing]) == standing
    assert aggregate(meter, [*events, *standing], JANUARY) == aggregate(meter, events, JANUARY)


@given(st.sampled_from([COUNT, SUM, THOUSAND]), STREAMS, st.integers(0, 44_640))
@settings(max_examples=150)
def test_what_adds_up_adds_up_over_any_split_and_over_points_and_buckets(
    meter: Meter, events: list[UsageEvent], minute: int
) -> None:
    whole = aggregate(meter, events, JANUARY)
    middle = JANUARY.start + timedelta(minutes=minute)
    first = aggregate(meter, events, Selection(JANUARY.start, middle))
    second = aggregate(meter, events, Selection(middle, JANUARY.end))
    series = points(meter, events, JANUARY, cut(WindowSize.DAY, "America/New_York"))
    assert first.value + second.value == whole.value == sum(point.value for point in series)
    assert first.event_count + second.event_count == whole.event_count == sum(point.event_count for point in series)
    bucketed = aggregate(QUARTERLY_SUM, events, JANUARY, cut(WindowSize.QUARTER_HOUR))
    assert bucketed == aggregate(SUM, events, JANUARY)


@given(STREAMS, st.integers(1, 44_639))
@settings(max_examples=150)
def test_a_carried_level_is_the_weighted_mean_of_its_parts(events: list[UsageEvent], minute: int) -> None:
    # a level that falls below 0 is cut off at 0 per part, so only rising ones add up
    rising = [event for event in events if not str(event.properties["x"]).startswith("-")]
    middle = JANUARY.start + timedelta(minutes=minute)
    first = aggregate(LIVING_LEVEL, rising, Selection(JANUARY.start, middle)).value
    second = aggregate(LIVING_LEVEL, rising, Selection(middle, JANUARY.end)).value
    whole = aggregate(LIVING_LEVEL, rising, JANUARY).value
    assert abs(first * minute + second * (44_640 - minute) - whole * 44_640) <= 2 * 44_640 * Decimal(
        "0.000000000000001"
    )


@given(STREAMS, st.permutations(range(12)))
@settings(max_examples=100)
def test_the_order_of_arrival_matters_to_ties_and_corrections_only(events: list[UsageEvent], order: list[int]) -> None:
    standing = live(events)
    shuffled = [standing[place] for place in order if place < len(standing)]
    for aggregation in (COUNT, SUM, AVG, MAX, UNIQUE, LEVEL):
        assert aggregate(aggregation, shuffled, JANUARY) == aggregate(aggregation, standing, JANUARY)
