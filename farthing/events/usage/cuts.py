"""Windows as a query sees them: an expression that names the window of a timestamp, and what that name means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Interval, case, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

from farthing.calendar.period import Period
from farthing.calendar.windows import ELAPSED, ON_THE_WALL, WindowSize, offset_spans, windows
from farthing.calendar.zones import UTC
from farthing.core.clock import as_utc
from farthing.core.errors import ValidationFailed

MOST_WINDOWS = 100_000
LONGEST_MONTH = timedelta(days=31)
LONGEST_SPAN = timedelta(days=100_000)
"""For windows of an hour or less: beyond it, finding where the clock was set takes too long."""
INSTANT = TIMESTAMP(timezone=True)


@dataclass(frozen=True, slots=True)
class Windows:
    """How time is cut: the size, on which wall, and for MONTH from which day (1 to 31)."""

    size: WindowSize
    zone: ZoneInfo = UTC
    month_day: int = 1


@dataclass(frozen=True, slots=True)
class WindowExpression:
    """`name_of(timestamp)` is the SQL by which rows of one window group; `start_of` turns its value into the start."""

    name_of: Callable[[ColumnElement[datetime]], ColumnElement[Any]]
    start_of: Callable[[Any], datetime]


def cut(how: Windows, span: Period) -> WindowExpression:
    """The windows that overlap `span`, which holds every row of the query.

    Edges on the wall are computed here and handed over; windows of elapsed time follow `date_bin` within each stretch
    of one offset. Raises ValidationFailed when there would be too many.
    """
    require_few_windows(how, span)
    if how.size in ELAPSED:
        return WindowExpression(lambda timestamp: _elapsed(timestamp, ELAPSED[how.size], span, how.zone), as_utc)
    edges = [window.start for window in windows(span, how.size, how.zone, how.month_day)]
    return WindowExpression(
        lambda timestamp: func.width_bucket(timestamp, cast(edges, ARRAY(INSTANT))),
        lambda number: edges[number - 1],
    )


def require_few_windows(how: Windows, span: Period) -> None:
    """Raises ValidationFailed when `span` has too many windows."""
    if how.size in ELAPSED:
        if span.end - span.start > LONGEST_SPAN:
            raise ValidationFailed.of("window_size", f"is for ranges of {LONGEST_SPAN.days} days; narrow the range")
    elif (span.end - span.start) // ON_THE_WALL.get(how.size, LONGEST_MONTH) > MOST_WINDOWS:
        raise ValidationFailed.of("window_size", f"would give more than {MOST_WINDOWS} windows; narrow the range")


def _elapsed(
    timestamp: ColumnElement[datetime], size: timedelta, span: Period, zone: ZoneInfo
) -> ColumnElement[datetime]:
    stretches = offset_spans(span, zone)
    bins = [
        func.greatest(
            func.date_bin(literal(size, Interval), timestamp, literal(stretch.midnight, INSTANT)),
            literal(stretch.start, INSTANT),
        )
        for stretch in stretches
    ]
    if len(bins) == 1:
        return bins[0]
    return case(
        *(
            (timestamp < literal(stretch.end, INSTANT), start)
            for stretch, start in zip(stretches[:-1], bins[:-1], strict=True)
        ),
        else_=bins[-1],
    )
