"""Which quantity is reported in which hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.marketplaces.reporting.hours import HOUR, WaitingQuantity, open_hours, place

DAY = datetime(2026, 1, 2, tzinfo=UTC)
MOST = 100


def hour(number: int) -> datetime:
    return DAY + number * HOUR


def waiting(*items: tuple[int, int]) -> list[WaitingQuantity[int]]:
    """Records by their hour and quantity; each is called by its place."""
    return [WaitingQuantity(place, hour(number), quantity) for place, (number, quantity) in enumerate(items)]


@pytest.mark.parametrize(
    ("items", "hours", "expected"),
    [
        pytest.param([(3, 5), (4, 7)], [3, 4], {3: [(0, 5)], 4: [(1, 7)]}, id="each in its own hour"),
        pytest.param([(3, 0)], [3], {3: [(0, 0)]}, id="nothing is reported as nothing"),
        pytest.param([(0, 5)], [4, 5], {4: [(0, 5)]}, id="what is too old, in the oldest open hour"),
        pytest.param(
            [(0, 5), (1, 2), (4, 7)], [4, 5], {4: [(0, 5), (1, 2), (2, 7)]}, id="beside what belongs to that hour"
        ),
        pytest.param([(3, 5)], [4], {4: [(0, 5)]}, id="in the next hour where its own is used"),
        pytest.param([(3, 5)], [2], {}, id="never before its own hour"),
        pytest.param([(3, 5)], [], {}, id="no hour is open"),
        pytest.param(
            [(3, 250)], [3, 4, 5], {3: [(0, 100)], 4: [(0, 100)], 5: [(0, 50)]}, id="too much for one hour is split"
        ),
        pytest.param([(3, 250)], [3, 4], {3: [(0, 100)], 4: [(0, 100)]}, id="what finds no hour waits"),
        pytest.param(
            [(3, 100), (3, 0)], [3, 4], {3: [(0, 100), (1, 0)]}, id="nothing has room in an hour that is full"
        ),
    ],
)
def test_where_quantities_go(
    items: list[tuple[int, int]], hours: list[int], expected: dict[int, list[tuple[int, int]]]
) -> None:
    placed = place(waiting(*items), [hour(number) for number in hours], MOST)
    assert {report.hour: report.parts for report in placed} == {hour(at): parts for at, parts in expected.items()}


def test_which_hours_are_open() -> None:
    assert open_hours(hour(1), hour(3), {hour(2)}) == [hour(1), hour(3)]
    assert open_hours(hour(1) + timedelta(minutes=1), hour(3), ()) == [hour(2), hour(3)]
    assert open_hours(hour(4), hour(3), ()) == []


@given(
    items=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3 * MOST)), max_size=30),
    hours=st.lists(st.integers(0, 40), unique=True).map(sorted),
)
def test_nothing_is_reported_twice_or_early_or_above_what_is_taken(
    items: list[tuple[int, int]], hours: list[int]
) -> None:
    placed = place(waiting(*items), [hour(number) for number in hours], MOST)
    assert [report.hour for report in placed] == sorted({report.hour for report in placed})
    reported = dict.fromkeys(range(len(items)), 0)
    for report in placed:
        assert 0 <= report.quantity <= MOST
        assert len({key for key, _ in report.parts}) == len(report.parts)
        for key, quantity in report.parts:
            assert report.hour >= hour(items[key][0])
            reported[key] += quantity
    room = sum(MOST for number in hours if any(number >= at for at, _ in items))
    for key, (_, quantity) in enumerate(items):
        assert reported[key] <= quantity
    if room >= sum(quantity for _, quantity in items) and items and hours and min(hours) >= max(at for at, _ in items):
        assert reported == {key: quantity for key, (_, quantity) in enumerate(items)}
