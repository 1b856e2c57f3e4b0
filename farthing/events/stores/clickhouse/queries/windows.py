"""Windows in ClickHouse: the start of the one that a time lies in, as milliseconds.

The edges come from the calendar, as they do for PostgreSQL: functions of dates there know neither all zones' past nor
far times.
"""

from __future__ import annotations

from datetime import timedelta

from farthing.calendar.period import Period
from farthing.calendar.windows import ELAPSED, offset_spans, windows
from farthing.events.stores.clickhouse.moments import milliseconds
from farthing.events.usage.cuts import Windows, require_few_windows


def window_of(column: str, how: Windows, span: Period) -> str:
    """The start of each row's window; `span` holds every row. Raises ValidationFailed when there would be too many."""
    require_few_windows(how, span)
    if how.size not in ELAPSED:
        edges = [milliseconds(window.start) for window in windows(span, how.size, how.zone, how.month_day)]
        return f"roundDown({column}, CAST([{_quoted(edges)}], 'Array(Int64)'))"
    step = ELAPSED[how.size] // timedelta(milliseconds=1)
    *earlier, last = [
        (
            milliseconds(stretch.end),
            f"greatest({column} - positiveModulo({column} - toInt64('{milliseconds(stretch.midnight)}'), {step}), "
            f"toInt64('{milliseconds(stretch.start)}'))",
        )
        for stretch in offset_spans(span, how.zone)
    ]
    if not earlier:
        return last[1]
    cases = ", ".join(f"{column} < toInt64('{end}'), {start}" for end, start in earlier)
    return f"multiIf({cases}, {last[1]})"


def _quoted(numbers: list[int]) -> str:
    return ", ".join(f"'{number}'" for number in numbers)
