"""The worked examples of usage, through the API: events in, numbers out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.account import Account
from tests.events.counter import NAME, at, each, new_meter, post, send, sent, series, usage

JANUARY = ("2024-01-01T00:00", "2024-02-01T00:00")
NEVER = "NEVER"


@pytest.mark.parametrize(
    ("meter", "events", "value", "event_count"),
    [
        pytest.param(
            {"type": "COUNT"},
            [sent("10:00", "e1"), sent("10:05", "e2"), sent("10:00", "e1")],
            "2",
            2,
            id="A1: an event sent twice counts once",
        ),
        pytest.param(
            {},
            [sent("10:00", "e1", x=5.2), sent("10:05", "e2", x=3.8), sent("10:10", "e1", x=7.1)],
            "10.9",
            2,
            id="A2: an id sent again with another time replaces the earlier version",
        ),
        pytest.param(
            {}, each(5, "5.5", ..., None, "abc", True, " 7 ", "1e3"), "1017.5", 8, id="A3: odd values count 0"
        ),
        pytest.param({}, each(*[0.1] * 10), "1", 10, id="A4: ten tenths are one"),
        pytest.param({}, each(9007199254740993, "1"), "9007199254740994", 2, id="A5: large integers are exact"),
        pytest.param({}, each(10, -4, 3), "13", 3, id="A6: a negative quantity counts 0"),
        pytest.param({"type": "AVG"}, each(10, 20, 30, 40, -1, 0), "16.666666666666667", 6, id="A7: a mean"),
        pytest.param({"type": "AVG"}, each(10, ..., 20), "10", 3, id="A8: a missing value is a 0 in the mean"),
        pytest.param({"type": "AVG"}, [], "0", 0, id="A8: the mean of nothing is 0"),
        pytest.param(
            {"type": "COUNT_UNIQUE"}, each("a", "b", "a", ..., None, 5, "5"), "3", 5, id="A9: different values"
        ),
        pytest.param(
            {"type": "LATEST"},
            [sent("10:00", "e1", x=1), sent("12:00", "e2", x=2), sent("09:00", "e3", x=3), sent("12:00", "e4", x=4)],
            "4",
            4,
            id="A12: of one instant the last accepted is the latest",
        ),
        pytest.param(
            {"type": "LATEST"},
            [sent("12:00", "e4", x=4), sent("12:00:00.500", "e5", x=7), sent("12:00:00.200", "e6", x=9)],
            "7",
            3,
            id="A12: milliseconds decide what is latest",
        ),
        pytest.param({"type": "MAX"}, each(-5, -3), "0", 2, id="A13: the largest of negative values is 0"),
        pytest.param(
            {"type": "SUM_WITH_MULTIPLIER", "multiplier": "1000"}, each(10, 2.5), "12500", 2, id="A14: a multiplier"
        ),
        pytest.param(
            {"type": "COUNT"},
            [
                sent("2024-01-01T00:00:00.000"),
                sent("2024-01-31T23:59:59.999"),
                sent("2024-02-01T00:00"),
            ],
            "2",
            2,
            id="A30: the start belongs to a range and the end does not",
        ),
        pytest.param(
            {
                "type": "COUNT",
                "filters": [{"key": "size", "values": ["1000000"]}, {"key": "ok", "values": ["true"]}],
            },
            [
                sent("10:00", size=1000000, ok=True),
                sent("10:01", size="1000000", ok="true"),
                sent("10:02", size=1000000),
                sent("10:03", size=1000001, ok=True),
            ],
            "2",
            2,
            id="A31: filters compare canonical text",
        ),
        pytest.param(
            {"expression": "ceil(duration_ms / 1000)"},
            [
                sent("10:00", duration_ms=4200),
                sent("10:01", duration_ms=8100),
                sent("10:02", duration_ms="500"),
                sent("10:03"),
                sent("10:04", duration_ms="abc"),
            ],
            "15",
            4,
            id="A32: an expression per event; what it cannot read counts nothing",
        ),
        pytest.param({"expression": "a / b"}, [sent("10:00", a=1)], "0", 0, id="A32: nothing is divided by zero"),
        pytest.param({"expression": "a - b"}, [sent("10:00", a=1, b=3)], "0", 1, id="A32: a negative result counts 0"),
    ],
)
async def test_one_value(account: Account, meter: dict[str, Any], events: Any, value: str, event_count: int) -> None:
    meter_id = await new_meter(account, **meter)
    if events:
        await send(account, events)
    answer = await usage(account, meter_id, *JANUARY)
    assert Decimal(answer.get("value", 0)) == Decimal(value)
    whole = await post(account, "/events/analytics", {"start_time": at(JANUARY[0]), "end_time": at(JANUARY[1])})
    (item,) = whole["items"] or [{"total_usage": "0", "event_count": 0}]
    assert (item["total_usage"], item["event_count"]) == (value, event_count)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"aggregation_type": "sum", "property_name": "x"}, id="by a meter that happens to fit"),
        pytest.param({"aggregation_type": "SUM", "property_name": "y"}, id="measured when asked"),
    ],
)
async def test_ad_hoc_usage_is_the_same_number(account: Account, asked: dict[str, Any]) -> None:
    await new_meter(account)
    await send(account, [sent(f"10:{n:02}", x=0.1, y=0.1) for n in range(10)])
    body = {"event_name": NAME, "start_time": at(JANUARY[0]), "end_time": at(JANUARY[1]), **asked}
    assert await post(account, "/events/usage", body) == {"event_name": NAME, "type": "SUM", "value": 1}
    days = await post(account, "/events/usage", {**body, "window_size": "DAY"})
    assert days["results"] == [{"window_size": "2024-01-15T00:00:00Z", "value": 1}]
    assert "value" not in days


async def test_ad_hoc_usage_without_a_property_counts(account: Account) -> None:
    await send(account, each(5, 7))
    body = {"event_name": NAME, "aggregation_type": "SUM", "start_time": at(JANUARY[0]), "end_time": at(JANUARY[1])}
    assert await post(account, "/events/usage", body) == {"event_name": NAME, "type": "COUNT", "value": 2}


async def test_a10_unique_values_of_days_do_not_add_up(account: Account) -> None:
    meter_id = await new_meter(account, type="COUNT_UNIQUE", field="u")
    days = [("2024-01-01T10:00", "a"), ("2024-01-01T11:00", "b"), ("2024-01-02T10:00", "a"), ("2024-01-02T11:00", "c")]
    await send(account, [sent(time, u=user) for time, user in days])
    answer = await usage(account, meter_id, *JANUARY, window_size="DAY")
    assert series(answer) == {"2024-01-01T00:00:00Z": 2, "2024-01-02T00:00:00Z": 2}
    assert answer["value"] == 3


async def test_a13_the_largest_of_each_day_and_of_all(account: Account) -> None:
    meter_id = await new_meter(account, type="MAX")
    await send(account, [sent("2024-01-01T10:00", x=5), sent("2024-01-01T11:00", x=3), sent("2024-01-02T10:00", x=9)])
    answer = await usage(account, meter_id, *JANUARY, window_size="DAY")
    assert series(answer) == {"2024-01-01T00:00:00Z": 5, "2024-01-02T00:00:00Z": 9}
    assert answer["value"] == 9


@pytest.mark.parametrize(
    ("meter", "events", "buckets", "total"),
    [
        pytest.param(
            {"type": "MAX", "bucket_size": "HOUR"},
            [
                sent("07:30", x=8),
                sent("07:45", x=4),
                sent("08:15", x=10),
                sent("08:30", x=5),
                sent("08:45", x=9),
            ],
            [("07:00", 8), ("08:00", 10)],
            18,
            id="A15: the largest of each hour",
        ),
        pytest.param(
            {"type": "MAX", "field": "data", "bucket_size": "HOUR", "group_by": "r"},
            [sent("10:00", data=10, r="a"), sent("10:30", data=20, r="b"), sent("11:15", data=15, r="a")],
            [("10:00", 10), ("10:00", 20), ("11:00", 15)],
            45,
            id="A17: the largest of each hour and group",
        ),
        pytest.param(
            {"bucket_size": "15MIN"},
            [sent("10:01", x=4), sent("10:14", x=3), sent("10:15", x=6)],
            [("10:00", 7), ("10:15", 6)],
            13,
            id="A18: the sum of each quarter of an hour",
        ),
    ],
)
async def test_buckets(account: Account, meter: dict[str, Any], events: Any, buckets: Any, total: int) -> None:
    meter_id = await new_meter(account, **meter)
    await send(account, events)
    answer = await usage(account, meter_id, *JANUARY)
    assert [(result["window_size"], result["value"]) for result in answer["results"]] == [
        (at(time), value) for time, value in buckets
    ]
    assert answer["value"] == total


@pytest.mark.parametrize(
    ("reset", "events", "start", "end", "value"),
    [
        pytest.param(
            "BILLING_PERIOD",
            [
                sent("2025-08-16T00:00", x=20),
                sent("2025-08-18T00:00", x=10),
                sent("2025-08-20T00:00", x=10),
                sent("2025-08-25T00:00", x=5),
            ],
            "2025-07-31T18:30",
            "2025-08-31T18:30",
            "19.506048387096774",
            id="A19: a mean level by elapsed time",
        ),
        *(
            pytest.param(
                reset,
                [
                    sent("2025-03-01T00:00", x=12),
                    sent("2025-03-02T00:00", x=-2),
                    sent("2025-04-11T00:00", x=5),
                    sent("2025-04-21T00:00", x=-3),
                ],
                "2025-04-01T00:00",
                "2025-05-01T00:00",
                value,
                id=f"A20: a level {text}",
            )
            for reset, value, text in [
                (NEVER, "12.333333333333333", "carried over"),
                ("BILLING_PERIOD", "2.333333333333333", "begun anew"),
            ]
        ),
        pytest.param(
            NEVER,
            [sent("2025-03-01T00:00", x=10), sent("2025-04-16T00:00", x=-10)],
            "2025-04-01T00:00",
            "2025-05-01T00:00",
            "5",
            id="A21: a level released",
        ),
        pytest.param(
            "BILLING_PERIOD",
            [sent("2025-03-16T04:00", x=24)],
            "2025-03-01T05:00",
            "2025-04-01T04:00",
            "12.403768506056528",
            id="A22: a month with a change of the clock has 743 hours",
        ),
    ],
)
async def test_levels(account: Account, reset: str, events: Any, start: str, end: str, value: str) -> None:
    meter_id = await new_meter(account, type="WEIGHTED_SUM", reset=reset)
    await send(account, events)
    assert (await usage(account, meter_id, start, end))["value"] == Decimal(value)


@pytest.mark.parametrize(
    ("zone", "size", "anchor", "counts"),
    [
        pytest.param(
            "America/New_York",
            "DAY",
            None,
            {
                "2025-03-08T05:00:00Z": ["2025-03-09T04:59:59"],
                "2025-03-09T05:00:00Z": ["2025-03-09T05:00:00", "2025-03-10T03:59:59"],
                "2025-03-10T04:00:00Z": ["2025-03-10T04:00"],
                "2025-11-02T04:00:00Z": ["2025-11-02T04:00", "2025-11-03T04:59:59"],
                "2025-11-03T05:00:00Z": ["2025-11-03T05:00"],
            },
            id="A23: days of 23 and of 25 hours",
        ),
        pytest.param(
            "America/New_York",
            "HOUR",
            None,
            {"2025-11-02T05:00:00Z": ["2025-11-02T05:30"], "2025-11-02T06:00:00Z": ["2025-11-02T06:30"]},
            id="A24: a repeated hour is two windows",
        ),
        pytest.param(
            "America/New_York",
            "3HOUR",
            None,
            {
                "2025-03-09T05:00:00Z": ["2025-03-09T05:00", "2025-03-09T06:59:59"],
                "2025-03-09T07:00:00Z": ["2025-03-09T07:00"],
                "2025-11-02T04:00:00Z": ["2025-11-02T04:00", "2025-11-02T07:59:59"],
            },
            id="A25: three hours on the wall",
        ),
        pytest.param(
            "Asia/Kolkata", "HOUR", None, {"2025-03-09T04:30:00Z": ["2025-03-09T04:59:59"]}, id="A26: half-hour zones"
        ),
        pytest.param(
            "Asia/Kolkata",
            "DAY",
            None,
            {"2025-03-03T18:30:00Z": ["2025-03-04T18:29:59"], "2025-03-04T18:30:00Z": ["2025-03-04T18:30"]},
            id="A26: days of a half-hour zone",
        ),
        pytest.param("UTC", "WEEK", None, {"2025-03-03T00:00:00Z": ["2025-03-09T12:00"]}, id="A27: weeks from Monday"),
        pytest.param(
            "UTC",
            "MONTH",
            "2025-01-31T00:00:00Z",
            {
                "2025-01-31T00:00:00Z": ["2025-02-27T12:00"],
                "2025-02-28T00:00:00Z": [f"2025-{day}T12:00" for day in ("02-28", "03-02", "03-03", "03-30")],
                "2025-03-31T00:00:00Z": ["2025-03-31T12:00"],
                "2025-04-30T00:00:00Z": ["2025-04-30T12:00"],
            },
            id="A28: months from the 31st",
        ),
        pytest.param(
            "Asia/Kolkata",
            "MONTH",
            "2025-01-05T00:00:00Z",
            {"2025-02-04T18:30:00Z": ["2025-03-04T18:29:59"], "2025-03-04T18:30:00Z": ["2025-03-04T18:30"]},
            id="A29: months from the 5th in another zone",
        ),
    ],
)
async def test_windows(account: Account, zone: str, size: str, anchor: str | None, counts: dict[str, Any]) -> None:
    meter_id = await new_meter(account, type="COUNT")
    await send(account, [sent(time) for times in counts.values() for time in times])
    given = {"timezone": zone, "window_size": size, **({"billing_anchor": anchor} if anchor else {})}
    answer = await usage(account, meter_id, "2025-01-01T00:00", "2025-12-01T00:00", **given)
    assert series(answer) == {start: len(times) for start, times in counts.items()}


async def test_a25_buckets_on_a_day_of_clock_change(account: Account) -> None:
    meter_id = await new_meter(account, type="MAX", bucket_size="3HOUR")
    for day, total in (("2025-11-02", 9), ("2025-03-09", 13)):
        await send(account, [sent(f"{day}T06:30", x=4), sent(f"{day}T07:30", x=9)])
        answer = await usage(account, meter_id, f"{day}T00:00", f"{day}T23:59", timezone="America/New_York")
        assert answer["value"] == total


async def test_a11_unique_values_are_counted_over_all_customers_together(account: Account) -> None:
    meter_id = await new_meter(account, type="COUNT_UNIQUE", field="u")
    users = [("c1", "a"), ("c1", "b"), ("c2", "b"), ("c2", "d")]
    await send(account, [sent("10:00", customer=customer, u=user) for customer, user in users])
    assert (await usage(account, meter_id, *JANUARY))["value"] == 3
    assert (await usage(account, meter_id, *JANUARY, external_customer_id="c2"))["value"] == 2


async def test_a38_reset_never_answers_since_the_beginning(account: Account) -> None:
    meter_id = await new_meter(account, type="COUNT_UNIQUE", field="u", reset=NEVER)
    users = [("2023-12-01T00:00", "a"), ("2023-12-02T00:00", "b"), ("10:00", "b"), ("11:00", "c")]
    await send(account, [sent(time, u=user) for time, user in users])
    answer = await usage(account, meter_id, *JANUARY, window_size="MONTH")
    assert answer["value"] == 3
    assert series(answer) == {"2024-01-01T00:00:00Z": 2}


async def test_a39_a_meters_filters_hold_in_queries(account: Account) -> None:
    meter_id = await new_meter(account, type="COUNT", filters=[{"key": "model", "values": ["gpt"]}])
    await send(account, [sent("10:00", model=model) for model in ("gpt", "gpt", "x", "x", "x")])
    assert (await usage(account, meter_id, *JANUARY))["value"] == 2
    assert "value" not in await usage(account, meter_id, *JANUARY, filters={"model": ["x"]})


async def test_a40_a_cursor_gives_the_nearest_events_first(account: Account) -> None:
    await send(account, [sent(f"10:00:0{n}", f"e{n}") for n in range(1, 6)])
    body = {"start_time": at(JANUARY[0]), "end_time": at(JANUARY[1]), "page_size": 2}
    first = await post(account, "/events/query", {**body, "page_size": 50})
    keys = {event["id"]: f"{1705312800 + int(event['id'][1])}000000000::{event['id']}" for event in first["events"]}
    newer = await post(account, "/events/query", {**body, "iter_first_key": keys["e1"]})
    assert [event["id"] for event in newer["events"]] == ["e3", "e2"]
    assert newer["has_more"] is True
    assert newer["total_count"] == 5
    older = await post(account, "/events/query", {**body, "iter_last_key": keys["e3"]})
    assert [event["id"] for event in older["events"]] == ["e2", "e1"]
    assert older["has_more"] is False
    assert "iter_last_key" not in older


async def test_a37_late_usage_is_what_the_live_value_is_beyond_the_invoiced_one(account: Account) -> None:
    meter_id = await new_meter(account)
    april = ("2025-04-01T00:00", "2025-05-01T00:00")
    await send(account, [sent("2025-04-02T00:00", "first", x=95), sent("2025-04-03T00:00", "second", x=5)])
    assert (await usage(account, meter_id, *april))["value"] == 100
    await send(account, [sent("2025-04-20T00:00", "third", x=7), sent("2025-04-03T00:00", "second", x=2)])
    assert (await usage(account, meter_id, *april))["value"] == 104
    await account.delete("/events/third")
    assert (await usage(account, meter_id, *april))["value"] == 97
