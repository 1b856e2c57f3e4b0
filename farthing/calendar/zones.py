"""Time zones, and the one rule that turns the time on the wall into an instant."""

from __future__ import annotations

from datetime import UTC as UTC_OFFSET
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from zoneinfo import ZoneInfo, reset_tzpath

from farthing.core.clock import FIRST_INSTANT, FIRST_WALL_TIME, LAST_INSTANT, LAST_WALL_TIME, as_utc
from farthing.core.errors import ValidationFailed

# the pinned tzdata package alone, so that every host knows the same rules
reset_tzpath(to=())

UTC = ZoneInfo("UTC")

SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

# The letters that invoice settings accept beside IANA names. Some of them are IANA names too (EST, GMT, CET, ...);
# there the reading below wins, because whoever writes EST means the civil time of New York, summer time included.
ABBREVIATIONS = MappingProxyType(
    {
        "IST": "Asia/Kolkata",
        "EST": "America/New_York",
        "CST": "America/Chicago",
        "MST": "America/Denver",
        "PST": "America/Los_Angeles",
        "HST": "Pacific/Honolulu",
        "AKST": "America/Anchorage",
        "GMT": "Europe/London",
        "BST": "Europe/London",
        "CET": "Europe/Berlin",
        "EET": "Europe/Athens",
        "WET": "Europe/Lisbon",
        "JST": "Asia/Tokyo",
        "KST": "Asia/Seoul",
        "CCT": "Asia/Shanghai",
        "AEST": "Australia/Sydney",
        "AWST": "Australia/Perth",
        "MSK": "Europe/Moscow",
        "CAT": "Africa/Harare",
        "EAT": "Africa/Nairobi",
        "WAT": "Africa/Lagos",
    }
)


def zone(name: str, field: str = "timezone") -> ZoneInfo:
    """The zone of an IANA name, spelled exactly; the empty name is UTC. Raises ValidationFailed naming `field`."""
    if not name:
        return UTC
    if name not in _known_names():
        raise ValidationFailed.of(field, f"{name!r} is not an IANA time zone name such as Europe/Berlin or UTC")
    return ZoneInfo(name)


def zone_or_abbreviation(name: str, field: str = "timezone") -> ZoneInfo:
    """As `zone`, and the abbreviations too: what invoice settings accept.

    Rule: docs/rules/calendar.md#zone-abbreviations
    """
    return zone(ABBREVIATIONS.get(name, name), field)


@cache
def _known_names() -> frozenset[str]:
    # The pinned package's list, not the machine's: a host's zone folder also holds "localtime" and the like, which
    # mean something else on the next host.
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split()) - {"Factory"}


def to_local(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows at `instant`: a naive datetime whose `fold` is 1 the second time round.

    The first or last that there is, where the wall would show a year before 1 or after 9999.
    """
    instant = as_utc(instant)
    if zone is UTC:
        return instant.replace(tzinfo=None)
    try:
        return instant.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return LAST_WALL_TIME if instant.year > 1 else FIRST_WALL_TIME


def to_utc(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the wall shows the naive `wall_time`.

    A repeated time means its first occurrence. A time that a clock set forward skips is moved forward by as much:
    02:30 becomes 03:30. The result never leaves the years 1 to 9999.
    Rule: docs/rules/calendar.md#instants-of-local-times
    """
    if zone is UTC:
        return wall_time.replace(tzinfo=UTC_OFFSET, fold=0)
    try:
        return wall_time.replace(tzinfo=zone, fold=0).astimezone(UTC_OFFSET)
    except OverflowError:
        return LAST_INSTANT if wall_time.year > 1 else FIRST_INSTANT


def first_instant_at(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the wall shows the naive `wall_time` or later: the edge of a window.

    Differs from `to_utc` only for a skipped time, and there only if the clock jumped before reaching it: all edges
    inside one gap are the first instant after the gap. So edges never run backwards, however long the gap is.
    """
    instant = to_utc(wall_time, zone)
    if instant in {FIRST_INSTANT, LAST_INSTANT}:
        return instant
    skipped = to_local(instant, zone) - wall_time
    return last_change(instant - skipped, instant, zone) if skipped else instant


def offset_at(instant: datetime, zone: ZoneInfo) -> timedelta:
    """How far the wall is ahead of UTC (east is positive)."""
    try:
        offset = instant.astimezone(zone).utcoffset()
    except OverflowError:  # no clock is set within a day of either end of the calendar
        offset = (instant + (_DAY if instant.year == 1 else -_DAY)).astimezone(zone).utcoffset()
    assert offset is not None, "a ZoneInfo always knows its offset"
    return offset


def last_change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The instant in (before, after] from which the offset of `after` holds; their offsets must differ, by one change.

    Offsets change on whole seconds.
    """
    low, high = before.replace(microsecond=0), after.replace(microsecond=0)
    offset = offset_at(high, zone)
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        if offset_at(middle, zone) == offset:
            high = middle
        else:
            low = middle
    return high
