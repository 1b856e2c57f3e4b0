"""Usage windows of grants: where they open, what is over their quota, whatever is asked of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.billing.calculation.quotas.usage import ChargedSpan, QuotaCount, QuotaQuestion, QuotaUsage
from farthing.billing.calculation.quotas.windows import QuotaSlot, window_opened_by
from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import GrantAllocation, GrantDurationUnit, GrantMeasure
from farthing.events.usage.stretch import Stretch
from farthing.metering.meter import AggregationType
from farthing.rating.pricing.price import RatedPrice
from farthing.subscriptions.snapshot.entitlements import GrantTerms, OpenedWindow

D = Decimal
NEW_YORK = ZoneInfo("America/New_York")
MARCH = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
HOUR, DAY, WEEK, PERIOD = GrantDurationUnit
FIRST_USAGE, UNIT_START = GrantAllocation
QUANTITY, AMOUNT = GrantMeasure


def march(text: str) -> datetime:
    """`1T02:00`: a time of a day in March, in UTC."""
    day, _, clock = text.partition("T")
    return datetime.fromisoformat(f"2026-03-{int(day):02}T{clock}+00:00")


def terms(
    unit: GrantDurationUnit = HOUR,
    value: int | None = 5,
    allocation: GrantAllocation = FIRST_USAGE,
    measure: GrantMeasure = QUANTITY,
    quota: str = "100",
) -> GrantTerms:
    return GrantTerms(measure, D(quota), unit, value, allocation)


def slot(how: GrantTerms, name: str = "ent_1", opened: Sequence[OpenedWindow] = ()) -> QuotaSlot:
    return QuotaSlot(name, how.measure, how.quota, how, tuple(opened))


def counted(
    slots: Sequence[QuotaSlot],
    events: Sequence[tuple[str, str] | tuple[str, str, str]],
    price: RatedPrice | None = None,
    how: AggregationType = AggregationType.SUM,
    cycle: Period = MARCH,
    spans: Sequence[ChargedSpan] = (),
) -> QuotaUsage:
    """What comes of events (time in March, quantity, key), in the order given."""
    charged = spans or [ChargedSpan("item", cycle.start, None, price or RatedPrice.flat(D(1)))]
    question = QuotaQuestion(
        "meter",
        (Stretch(frozenset({"cust"}), cycle.start, cycle.end),),
        cycle,
        cycle.start,
        cycle.start,
        cycle.end,
        ZoneInfo("UTC"),
        tuple(slots),
        tuple(charged),
    )
    count = QuotaCount(question, how)
    for moment, quantity, *key in events:
        count.add(march(moment), D(quantity), key[0] if key else "")
    return count.result()


def shown(usage: QuotaUsage) -> list[tuple[str, str, str, str]]:
    """From, to, usage and what is over, of each window."""
    return [
        (
            f"{window.start:%-d %H:%M}",
            f"{window.end:%-d %H:%M}",
            f"{window.usage.normalize():f}",
            f"{sum((amount for _, amount in window.over), D(0)).normalize():f}",
        )
        for window in usage.windows
    ]


@pytest.mark.parametrize(
    ("how", "events", "expected"),
    [
        pytest.param(
            terms(),
            [("1T02:00", "60"), ("1T04:00", "70"), ("1T07:00", "10")],
            [("1 02:00", "1 07:00", "130", "30"), ("1 07:00", "1 12:00", "10", "0")],
            id="five hours from the first usage; the event at the end opens the next window",
        ),
        pytest.param(
            terms(), [("31T18:30", "1")], [("31 18:30", "1 00:00", "1", "0")], id="less than an hour left is taken in"
        ),
        pytest.param(
            terms(allocation=UNIT_START),
            [("1T02:00", "60"), ("1T07:00", "10")],
            [("1 00:00", "1 05:00", "60", "0"), ("1 05:00", "1 10:00", "10", "0")],
            id="unit start: the stride that holds the event",
        ),
        pytest.param(
            terms(),
            [("1T02:00", "1"), ("1T06:30", "1"), ("1T07:10", "1")],
            [("1 02:00", "1 07:00", "2", "0"), ("1 07:10", "1 12:10", "1", "0")],
            id="nothing is covered between windows without usage",
        ),
        pytest.param(
            terms(DAY, 1),
            [("1T10:00", "120"), ("2T10:00", "80"), ("3T10:00", "150")],
            [
                ("1 10:00", "2 10:00", "120", "20"),
                ("2 10:00", "3 10:00", "80", "0"),
                ("3 10:00", "4 10:00", "150", "50"),
            ],
            id="100 a day, 120, 80 and 150: 70 over",
        ),
        pytest.param(
            terms(WEEK, 1, UNIT_START),
            [("1T10:00", "120"), ("9T00:00", "101"), ("18T00:00", "7")],
            [
                ("1 00:00", "8 00:00", "120", "20"),
                ("9 00:00", "16 00:00", "101", "1"),
                ("16 00:00", "23 00:00", "7", "0"),
            ],
            id="weeks from Monday; the first begins with the cycle, on a Sunday, and lasts a week",
        ),
        pytest.param(
            terms(DAY, 1), [("30T23:30", "7")], [("30 23:30", "1 00:00", "7", "0")], id="half an hour left of the cycle"
        ),
        pytest.param(
            terms(DAY, 1),
            [("30T23:00", "7"), ("31T23:00", "8")],
            [("30 23:00", "31 23:00", "7", "0"), ("31 23:00", "1 00:00", "8", "0")],
            id="an hour left is not less than an hour, and is a window of its own",
        ),
        pytest.param(terms(DAY, 31), [("3T10:00", "500")], [], id="as long as the cycle: no window, nothing over"),
        pytest.param(
            terms(PERIOD, None),
            [("3T10:00", "500")],
            [("1 00:00", "1 00:00", "500", "400")],
            id="the period is one window",
        ),
        pytest.param(terms(PERIOD, None), [], [("1 00:00", "1 00:00", "0", "0")], id="the period, without any usage"),
        pytest.param(
            terms(HOUR, 1),
            [("1T10:00", "100"), ("1T10:30", "-30"), ("1T10:40", "50")],
            [("1 10:00", "1 11:00", "120", "20")],
            id="a correction makes room in its window",
        ),
    ],
)
def test_windows_and_what_is_over(
    how: GrantTerms, events: list[tuple[str, str]], expected: list[tuple[str, str, str, str]]
) -> None:
    assert shown(counted([slot(how)], events)) == expected


def test_a_stride_that_is_covered_in_part_begins_where_the_window_before_it_ends() -> None:
    how = terms(allocation=UNIT_START)
    found = window_opened_by(march("1T07:00"), march("1T07:00"), MARCH, how, ZoneInfo("UTC"))
    assert found == Period(march("1T07:00"), march("1T12:00"))


def test_when_a_quota_is_used_up() -> None:
    usage = counted([slot(terms())], [("1T02:00", "60"), ("1T03:00", "40"), ("1T04:00", "5")])
    assert [window.crossed_at for window in usage.windows] == [march("1T03:00")]


@pytest.mark.parametrize(
    ("price", "quota", "events", "over"),
    [
        pytest.param(RatedPrice.flat(D("0.5")), "10", [("1T02:00", "30")], "5", id="15.00 of usage above 10.00"),
        pytest.param(RatedPrice.flat(D("0.5")), "10", [("1T02:00", "20")], "0", id="just as much"),
        pytest.param(
            RatedPrice.flat(D("0.5")), "10", [("1T02:00", "30"), ("2T02:00", "26")], "8", id="each window by itself"
        ),
        pytest.param(
            RatedPrice.package(D(4), 10),
            "6",
            [("1T02:00", "3"), ("1T03:00", "8")],
            "2",
            id="packages begun in a window",
        ),
        pytest.param(RatedPrice.flat(D(0)), "6", [("1T02:00", "300")], "0", id="what costs nothing is never over"),
    ],
)
def test_a_quota_of_money(price: RatedPrice, quota: str, events: list[tuple[str, str]], over: str) -> None:
    usage = counted([slot(terms(measure=AMOUNT, quota=quota))], events, price)
    assert sum((amount for window in usage.windows for _, amount in window.over), D(0)) == D(over)


@pytest.mark.parametrize(
    ("quotas", "events", "over"),
    [
        pytest.param(["100", "500"], [("1T02:00", "60"), ("1T04:00", "70"), ("1T05:00", "10")], "40", id="the smaller"),
        pytest.param(["100", "150"], [("1T02:00", "120"), ("1T08:00", "60")], "50", id="each unit once"),
        pytest.param(["50", "50"], [("1T02:00", "70")], "20", id="the same quota twice is one"),
        pytest.param(
            ["100", "130"], [("1T02:00", "100"), ("1T07:30", "40")], "10", id="the longer one is used up later"
        ),
        pytest.param(["100", "500"], [("1T02:00", "100"), ("1T04:00", "1")], "1", id="used up exactly, then one more"),
    ],
)
def test_quotas_side_by_side(quotas: list[str], events: list[tuple[str, str]], over: str) -> None:
    """The first by five hours, the second by day."""
    slots = [slot(terms(HOUR, 5, quota=quotas[0]), "ent_1"), slot(terms(DAY, 1, quota=quotas[1]), "ent_2")]
    usage = counted(slots, events)
    assert sum((amount for window in usage.windows for _, amount in window.over), D(0)) == D(over)


def test_unique_keys_are_counted_in_each_window() -> None:
    events = [("1T02:00", "1", "ann"), ("1T03:00", "1", "bob"), ("1T04:00", "1", "ann"), ("1T05:00", "1", "cid")]
    usage = counted([slot(terms(quota="2"))], events, how=AggregationType.COUNT_UNIQUE)
    assert shown(usage) == [("1 02:00", "1 07:00", "3", "1")]


@pytest.mark.parametrize(
    ("how", "over"), [(AggregationType.AVG, "20"), (AggregationType.LATEST, "50")], ids=["mean", "latest"]
)
def test_a_level_is_over_by_its_value_in_the_window(how: AggregationType, over: str) -> None:
    usage = counted([slot(terms())], [("1T02:00", "90"), ("1T03:00", "150")], how=how)
    assert shown(usage)[0][3] == over


def test_versions_of_an_item_share_a_window_and_pay_at_their_price() -> None:
    noon = march("1T12:00")
    spans = [
        ChargedSpan("old", MARCH.start, noon, RatedPrice.flat(D(1))),
        ChargedSpan("new", noon, None, RatedPrice.flat(D(2))),
    ]
    events = [("1T10:00", "8"), ("1T13:00", "3")]
    in_money = counted([slot(terms(DAY, 1, measure=AMOUNT, quota="10"))], events, spans=spans)
    assert dict(in_money.windows[0].over) == {"new": D(4)}
    in_units = counted([slot(terms(DAY, 1, quota="10"))], events, spans=spans)
    assert dict(in_units.windows[0].over) == {"new": D(1)}


def opened(start: str, end: str, quota: str = "100") -> OpenedWindow:
    return OpenedWindow("eg_1", "ent_1", "feat", QUANTITY, HOUR, D(quota), march(start), march(end))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [("1T05:00", "150"), ("1T08:00", "10")],
            [("1 05:00", "1 07:00", "150", "50"), ("1 07:00", "1 12:00", "10", "0")],
            id="late usage just before a window fills the time up to it",
        ),
        pytest.param(
            [("1T01:00", "150"), ("1T08:00", "10")],
            [("1 01:00", "1 06:00", "150", "50"), ("1 07:00", "1 12:00", "10", "0")],
            id="late usage long before a window has a whole one of its own",
        ),
        pytest.param([("1T08:00", "150")], [("1 07:00", "1 12:00", "150", "50")], id="usage within it, late or not"),
        pytest.param([], [("1 07:00", "1 12:00", "0", "0")], id="its usage was taken away again"),
        pytest.param(
            [("1T12:00", "1")],
            [("1 07:00", "1 12:00", "0", "0"), ("1 12:00", "1 17:00", "1", "0")],
            id="its end is not in it",
        ),
    ],
)
def test_a_window_that_was_opened_stays(
    events: list[tuple[str, str]], expected: list[tuple[str, str, str, str]]
) -> None:
    assert shown(counted([slot(terms(), opened=[opened("1T07:00", "1T12:00")])], events)) == expected


def test_a_window_that_was_opened_keeps_its_quota() -> None:
    usage = counted([slot(terms(quota="5"), opened=[opened("1T07:00", "1T12:00", "20")])], [("1T08:00", "21")])
    assert shown(usage) == [("1 07:00", "1 12:00", "21", "1")]


def test_days_end_at_the_same_time_on_the_wall() -> None:
    cycle = Period(datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 4, 1, 4, tzinfo=UTC))
    event = datetime(2026, 3, 8, 5, 30, tzinfo=UTC)  # 00:30 in New York, where this day has 23 hours
    found = window_opened_by(event, cycle.start, cycle, terms(DAY, 1, UNIT_START), NEW_YORK)
    assert found == Period(datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 3, 9, 4, tzinfo=UTC))
    hours = window_opened_by(event, cycle.start, cycle, terms(HOUR, 24), NEW_YORK)
    assert hours == Period(event, event + timedelta(hours=24))


every_terms = st.builds(
    terms,
    unit=st.sampled_from([HOUR, DAY, WEEK]),
    value=st.integers(1, 30),
    allocation=st.sampled_from(list(GrantAllocation)),
    quota=st.integers(1, 50).map(str),
)
minutes = st.integers(0, 31 * 24 * 60 - 1)
every_events = st.lists(st.tuples(minutes, st.integers(0, 40)), max_size=40).map(sorted)


def _count(slots: Sequence[QuotaSlot], events: Sequence[tuple[int, int]]) -> QuotaUsage:
    question = QuotaQuestion(
        "meter",
        (),
        MARCH,
        MARCH.start,
        MARCH.start,
        MARCH.end,
        ZoneInfo("UTC"),
        tuple(slots),
        (ChargedSpan("item", MARCH.start, None, RatedPrice.flat(D(1))),),
    )
    count = QuotaCount(question, AggregationType.SUM)
    for minute, quantity in events:
        count.add(MARCH.start + timedelta(minutes=minute), D(quantity), "")
    return count.result()


def _over(usage: QuotaUsage) -> D:
    return sum((amount for window in usage.windows for _, amount in window.over), D(0))


@given(how=every_terms, events=every_events)
def test_windows_are_apart_inside_the_cycle_and_hold_all_usage(how: GrantTerms, events: list[tuple[int, int]]) -> None:
    usage = _count([slot(how)], events)
    ends = [MARCH.start]
    for window in usage.windows:
        assert ends[-1] <= window.start < window.end <= MARCH.end
        ends.append(window.end)
    if usage.windows:
        assert sum((window.usage for window in usage.windows), D(0)) == sum(quantity for _, quantity in events)
    assert _over(usage) == sum((max(window.usage - window.quota, D(0)) for window in usage.windows), D(0))
    for window in usage.windows:
        assert (window.crossed_at is not None) == (window.usage >= window.quota)


@given(how=every_terms, events=every_events, seen=st.integers(0, 40))
def test_it_does_not_matter_when_somebody_looks(how: GrantTerms, events: list[tuple[int, int]], seen: int) -> None:
    """Windows that were opened after the first events are those that all events open."""
    stored = [
        OpenedWindow(f"eg_{place}", "ent_1", "feat", QUANTITY, how.unit, window.quota, window.start, window.end)
        for place, window in enumerate(_count([slot(how)], events[:seen]).windows)
    ]
    again, at_once = _count([slot(how, opened=stored)], events), _count([slot(how)], events)
    assert shown(again) == shown(at_once)


@given(first=every_terms, second=every_terms, events=every_events)
def test_side_by_side_charge_at_least_the_stricter_and_at_most_both(
    first: GrantTerms, second: GrantTerms, events: list[tuple[int, int]]
) -> None:
    alone = [_over(_count([slot(first)], events)), _over(_count([slot(second)], events))]
    together = _over(_count([slot(first, "ent_1"), slot(second, "ent_2")], events))
    assert max(alone) <= together <= min(sum(alone), sum(quantity for _, quantity in events))


@given(how=every_terms, events=every_events)
def test_a_larger_quota_never_charges_more(how: GrantTerms, events: list[tuple[int, int]]) -> None:
    larger = terms(how.unit, how.value, how.allocation, quota=str(how.quota + 1))
    assert _over(_count([slot(larger)], events)) <= _over(_count([slot(how)], events))
