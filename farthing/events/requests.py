"""What queries of events and usage ask, with the names and fields of the wire."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta

from farthing.calendar.windows import WindowSize, anchor_day
from farthing.calendar.zones import zone
from farthing.core.clock import shifted
from farthing.core.encoding.wire import BadField, Moment, Request
from farthing.core.errors import ValidationFailed
from farthing.events.groupings import CUSTOMER, PROPERTY, SOURCE
from farthing.metering.filters import Conditions

DEFAULT_SPAN = timedelta(days=7)
MOST_FILTER_KEYS = 50
MOST_FILTER_VALUES = 1000
MOST_IDS = 1000
MOST_GROUPINGS = 5

_NAME = re.compile(r"[A-Za-z0-9_.]+")


class SeriesSize(StrEnum):
    """A window size in a request; the empty text asks for no series."""

    NONE = ""
    MINUTE = "MINUTE"
    QUARTER_HOUR = "15MIN"
    HALF_HOUR = "30MIN"
    HOUR = "HOUR"
    THREE_HOURS = "3HOUR"
    SIX_HOURS = "6HOUR"
    TWELVE_HOURS = "12HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class AggregationAsked(StrEnum):
    """An aggregation type in a request: taken in any case."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    COUNT_UNIQUE = "COUNT_UNIQUE"
    LATEST = "LATEST"
    SUM_WITH_MULTIPLIER = "SUM_WITH_MULTIPLIER"
    MAX = "MAX"
    WEIGHTED_SUM = "WEIGHTED_SUM"

    @classmethod
    def _missing_(cls, value: object) -> AggregationAsked | None:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


FilterMap = dict[str, list[str]]


def past(now: datetime) -> datetime:
    """The end of a range that includes `now`: events have whole milliseconds."""
    return shifted(now, timedelta(milliseconds=1))


class Ranged(Request):
    """A query over event time `[start_time, end_time)`; by default the last seven days."""

    start_time: Moment | None = None
    end_time: Moment | None = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """The range asked for, possibly empty; without an end it includes `now`, also where a clock stands still.

        Raises ValidationFailed for one that ends before it starts.
        """
        end = self.end_time or past(now)
        start = self.start_time or shifted(self.end_time or now, -DEFAULT_SPAN)
        if end < start:
            raise ValidationFailed("end time must be after start time", {"end_time": "must not be before start_time"})
        return start, end


class GetEventsRequest(Ranged):
    """A listing of raw events. `iter_first_key` asks for newer ones, `iter_last_key` for older ones."""

    external_customer_id: str | None = None
    event_name: str | None = None
    event_id: str | None = None
    source: str | None = None
    property_filters: FilterMap | None = None
    page_size: int | None = None
    offset: int | None = None
    iter_first_key: str | None = None
    iter_last_key: str | None = None
    sort: Literal["timestamp", "event_name", ""] | None = None
    order: Literal["asc", "desc", ""] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offset is not None and not 0 <= self.offset < 2**63:
            raise BadField("offset", "must not be negative")
        if (self.iter_first_key or self.iter_last_key) and self.sort == "event_name":
            raise BadField("sort", "must be timestamp when a cursor is given")


class OnTheWall(Ranged):
    """A query whose series is cut on the wall of a zone."""

    window_size: SeriesSize | None = None
    timezone: str | None = None
    billing_anchor: Moment | None = None
    external_customer_id: str | None = None
    customer_id: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        return zone(self.timezone or "")

    def month_day(self, zone: ZoneInfo) -> int:
        """On which day months begin on the wall of `zone`."""
        return anchor_day(self.billing_anchor, zone) if self.billing_anchor else 1


class GetUsageRequest(OnTheWall, kw_only=True):
    """An ad-hoc aggregation over the events of one name."""

    event_name: Annotated[str, Meta(min_length=1, max_length=255)]
    aggregation_type: AggregationAsked
    property_name: str | None = None
    bucket_size: SeriesSize | None = None
    filters: FilterMap | None = None
    multiplier: Decimal | None = None
    group_by: list[str] | None = None
    group_by_property: str | None = None


class GetUsageByMeterRequest(OnTheWall, kw_only=True):
    """The usage of one meter. `bucket_size` is ignored: the meter's own counts."""

    meter_id: Annotated[str, Meta(min_length=1)]
    bucket_size: SeriesSize | None = None
    filters: FilterMap | None = None


class GetUsageAnalyticsRequest(Ranged):
    """Usage with its cost, by line item and group."""

    external_customer_id: str | None = None
    feature_ids: Annotated[list[str], Meta(max_length=MOST_IDS)] | None = None
    sources: Annotated[list[str], Meta(max_length=MOST_IDS)] | None = None
    group_by: Annotated[list[str], Meta(max_length=MOST_GROUPINGS)] | None = None
    window_size: SeriesSize | None = None
    property_filters: FilterMap | None = None
    expand: list[str] | None = None
    include_children: bool | None = None
    breakdown_bucket: bool | None = None

    def dimensions(self) -> tuple[str, ...]:
        """What items are split by, beyond the line item they belong to. Raises ValidationFailed."""
        found: list[str] = []
        for dimension in self.group_by or ():
            if dimension in {"feature_id", "meter_id"}:
                continue
            name = dimension.removeprefix(PROPERTY)
            if dimension not in {SOURCE, CUSTOMER} and not (dimension.startswith(PROPERTY) and _NAME.fullmatch(name)):
                raise ValidationFailed.of(
                    "group_by",
                    f"'{dimension}' is not feature_id, meter_id, source, external_customer_id or properties.<name>",
                )
            found.append(dimension)
        return tuple(dict.fromkeys(found))


class GetHuggingFaceBillingDataRequest(Request):
    """Events whose single cost is asked for."""

    requestIds: Annotated[list[str], Meta(min_length=1, max_length=MOST_IDS)]  # noqa: N815 (the wire's)


def size_of(asked: SeriesSize | None) -> WindowSize | None:
    """The window size asked for; None for none."""
    return WindowSize(asked.value) if asked else None


def conditions_of(field: str, given: FilterMap | None) -> Conditions:
    """A map of filters as conditions; keys without values are ignored. Raises ValidationFailed."""
    filters = {key: values for key, values in (given or {}).items() if values}
    if len(filters) > MOST_FILTER_KEYS:
        raise ValidationFailed.of(field, f"must have at most {MOST_FILTER_KEYS} keys")
    for key, values in filters.items():
        if len(values) > MOST_FILTER_VALUES:
            raise ValidationFailed.of(f"{field}.{key}", f"must have at most {MOST_FILTER_VALUES} values")
    return tuple((key, frozenset(values)) for key, values in filters.items())


def filters_of_text(text: str) -> dict[str, Any]:
    """`key1:v1,v2;key2:v3`, as a query string writes filters."""
    found: dict[str, Any] = {}
    for piece in text.split(";"):
        key, colon, values = piece.partition(":")
        if piece and not (key and colon):
            raise ValidationFailed.of("property_filters", "must look like key1:value1,value2;key2:value3")
        if piece:
            found[key] = [value for value in values.split(",") if value]
    return found
