"""What people type into forms, read as values."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from farthing.core.errors import ValidationFailed
from farthing.web.rendering.typed_fields import start_of_day, start_of_next_day

BERLIN = ZoneInfo("Europe/Berlin")


def test_a_day_of_25_hours_lasts_until_the_next_one_begins() -> None:
    assert start_of_day("until", "2026-10-25", BERLIN) == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert start_of_next_day("until", "2026-10-25", BERLIN) == datetime(2026, 10, 25, 23, tzinfo=UTC)


@pytest.mark.parametrize("typed", ["", "tomorrow", "2026-02-30", "10000-01-01"])
def test_what_is_no_day_is_refused(typed: str) -> None:
    for read in (start_of_day, start_of_next_day):
        with pytest.raises(ValidationFailed, match="until"):
            read("until", typed, BERLIN)


def test_after_the_last_day_of_the_calendar_there_is_none() -> None:
    with pytest.raises(ValidationFailed, match="until"):
        start_of_next_day("until", "9999-12-31", BERLIN)
