"""The store answers what the model says, for whatever is sent and asked."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_containing
from farthing.events.usage import usage_query
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering import model
from farthing.metering.event import UsageEvent
from farthing.metering.filters import Filter, conditions
from farthing.metering.meter import Aggregation, AggregationType, Meter, ResetUsage
from farthing.metering.model import Selection
from farthing.storage.postgres import Database
from tests.events.books import opened
from tests.thorough import examples

T = AggregationType
METERS = [
    Meter("", "call", aggregation, filters, reset)
    for aggregation, filters, reset in [
        (Aggregation(T.COUNT), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.COUNT), (Filter("u", ("a", "5")),), ResetUsage.NEVER),
        (Aggregation(T.SUM, "x"), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.SUM, expression="x * 2 + y"), (), ResetUsage.NEVER),
        (Aggregation(T.AVG, "x"), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.MAX, "x"), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.LATEST, "x"), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.COUNT_UNIQUE, "u"), (), ResetUsage.NEVER),
        (Aggregation(T.SUM_WITH_MULTIPLIER, "x", multiplier=Decimal("0.001")), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.WEIGHTED_SUM, "x"), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.WEIGHTED_SUM, "x"), (), ResetUsage.NEVER),
        (Aggregation(T.MAX, "x", bucket_size=WindowSize.HOUR), (), ResetUsage.BILLING_PERIOD),
        (Aggregation(T.MAX, "x", bucket_size=WindowSize.THREE_HOURS, group_by="u"), (), ResetUsage.NEVER),
        (Aggregation(T.SUM, "x", bucket_size=WindowSize.DAY), (), ResetUsage.BILLING_PERIOD),
    ]
]

ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/London", "America/Sao_Paulo"]
# the days around changes of the clock, so that few events meet them often
DAYS = [datetime(2025, 3, 9, tzinfo=UTC), datetime(2025, 11, 2, tzinfo=UTC), datetime(2025, 10, 4, 12, tzinfo=UTC)]

moments = st.builds(
    lambda day, minutes, ms: day + timedelta(minutes=minutes, milliseconds=ms),
    st.sampled_from(DAYS),
    st.integers(-2 * 24 * 60, 2 * 24 * 60),
    st.sampled_from([0, 1, 59_999]),
)
numbers = st.one_of(
    st.integers(-20, 100),
    st.decimals(-5, 50, places=3),
    st.sampled_from(["7", " 2.5 ", "abc", None, True, "1e3", 9007199254740993, Decimal("0.000000000000001")]),
)
texts = st.sampled_from(["a", "b", "5", 5, Decimal("5.0"), True, None, ""])
properties = st.fixed_dictionaries({}, optional={"x": numbers, "y": st.integers(0, 9), "u": texts})
events = st.builds(
    lambda event_id, customer, moment, source, given: UsageEvent(
        id=event_id,
        event_name="call",
        external_customer_id=customer,
        timestamp=moment,
        source=source,
        properties=given,
    ),
    st.sampled_from([f"e{n}" for n in range(30)]),
    st.sampled_from(["c1", "c2", "c 3"]),
    moments,
    st.sampled_from(["", "web", "sdk"]),
    properties,
)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    day = draw(st.sampled_from(DAYS))
    start = day + timedelta(minutes=draw(st.integers(-3 * 24 * 60, 60)))
    end = start + timedelta(minutes=draw(st.one_of(st.just(0), st.integers(1, 5 * 24 * 60), st.just(300 * 24 * 60))))
    customers = draw(st.sampled_from([None, frozenset(), frozenset({"c1"}), frozenset({"c1", "c 3"})]))
    sources = draw(st.sampled_from([None, None, frozenset({"web", ""}), frozenset()]))
    filters = draw(st.sampled_from([(), (), (Filter("u", ("a", "5", "true")),), (Filter("x", ("7", "2.5")),)]))
    return Selection(start, end, customers, sources, conditions(filters))


def _by(size: WindowSize, zone: ZoneInfo, month_day: int) -> Callable[[datetime], Period]:
    return lambda moment: window_containing(moment, size, zone, month_day)


@pytest.mark.slow
@settings(max_examples=examples(15, 60))
@given(
    arrivals=st.lists(st.lists(events, max_size=12), max_size=4),
    asked=selections(),
    zone=st.sampled_from(ZONES),
    size=st.sampled_from(list(WindowSize)),
    month_day=st.sampled_from([1, 5, 31]),
)
async def test_every_query_answers_what_the_model_says(
    each_store: Database,
    arrivals: list[list[UsageEvent]],
    asked: Selection,
    zone: str,
    size: WindowSize,
    month_day: int,
) -> None:
    wall = ZoneInfo(zone)
    sent = [event for batch in arrivals for event in batch]
    async with opened(each_store) as books:
        meters = [dataclasses.replace(meter, id=f"meter_{uuid.uuid4().hex}") for meter in METERS]
        await books.add_meters(meters)
        for batch in arrivals:
            if batch:
                await books.send(batch)
        async with each_store.transaction(books.scope, read_only=True) as session:
            queries = [
                UsageQuery(
                    meter,
                    asked.start,
                    asked.end,
                    asked.customers,
                    asked.sources,
                    asked.properties,
                    zone=wall,
                    month_day=month_day,
                )
                for meter in meters
            ]
            together = await usage_query.usage_of(session, queries)
            for meter, query, usage in zip(meters, queries, together, strict=True):
                bucket = meter.aggregation.bucket_size
                bucket_of = _by(bucket, wall, month_day) if bucket else None
                assert usage == model.aggregate(meter, sent, asked, bucket_of)
                since = await usage_query.since_beginning(session, query)
                assert since == model.since_beginning(meter, sent, asked, bucket_of)
                series = await usage_query.series(session, query, size)
                points = model.points(meter, sent, asked, _by(size, wall, month_day), bucket_of)
                assert series == points
                if bucket_of:
                    assert await usage_query.buckets_of(session, [query]) == [
                        model.buckets(meter, sent, asked, bucket_of)
                    ]


@pytest.mark.slow
@settings(max_examples=examples(10, 40))
@given(sent=st.lists(events, min_size=1, max_size=15), asked=selections())
async def test_groups_are_the_same_query_narrowed_to_each_of_them(
    each_store: Database, sent: list[UsageEvent], asked: Selection
) -> None:
    async with opened(each_store) as books:
        meters = [dataclasses.replace(meter, id=f"meter_{uuid.uuid4().hex}") for meter in METERS]
        await books.add_meters(meters)
        await books.send(sent)
        async with each_store.transaction(books.scope, read_only=True) as session:
            for meter in meters:
                query = UsageQuery(meter, asked.start, asked.end, asked.customers, group_by=("source",))
                bucket = meter.aggregation.bucket_size
                bucket_of = _by(bucket, ZoneInfo("UTC"), 1) if bucket else None
                (found,) = await usage_query.grouped_of(session, [query])
                for source in ("", "web", "sdk"):
                    narrowed = Selection(asked.start, asked.end, asked.customers, frozenset({source}))
                    expected = model.aggregate(meter, sent, narrowed, bucket_of)
                    assert found.get((source,), model.Usage(Decimal(0), 0)) == expected
                by_both = dataclasses.replace(query, group_by=("properties.u", "external_customer_id"))
                (by_text,) = await usage_query.grouped_of(session, [by_both])
                assert sum(usage.event_count for usage in by_text.values()) == sum(
                    usage.event_count for usage in found.values()
                )
