"""The picture of a subscription's life."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.enums import PauseStatus
from farthing.subscriptions.tables import Subscription
from farthing.web.dashboard.subscriptions.history import picture_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def subscription(year: int) -> Subscription:
    start, end = datetime(year, 11, 1, tzinfo=UTC), datetime(year, 12, 1, tzinfo=UTC)
    return Subscription(start_date=start, current_period_start=start, current_period_end=end)


@pytest.mark.parametrize(
    ("status", "is_drawn"),
    [
        pytest.param(PauseStatus.ACTIVE, True, id="a pause is drawn"),
        pytest.param(PauseStatus.CANCELLED, False, id="a pause that was called off is not"),
    ],
)
def test_pauses(status: PauseStatus, is_drawn: bool) -> None:
    pause = SubscriptionPause(pause_start=datetime(2026, 11, 10, tzinfo=UTC), pause_status=status)
    assert ("Paused" in picture_of(subscription(2026), [], [pause], [], NOW)) is is_drawn


def test_one_that_begins_at_the_end_of_the_calendar_has_a_picture_too() -> None:
    assert "1 Nov 9999" in picture_of(subscription(9999), [], [], [], NOW)


@pytest.mark.parametrize(
    ("days", "word"),
    [
        pytest.param(1, "", id="nowhere, it would not fit"),
        pytest.param(2, 'class="in roomiest"', id="on a large screen alone"),
        pytest.param(4, 'class="in roomy"', id="beside the rail alone"),
        pytest.param(8, 'class="in "', id="on a phone too"),
    ],
)
def test_a_word_stands_where_it_fits(days: int, word: str) -> None:
    start = datetime(2026, 11, 10, tzinfo=UTC)
    pause = SubscriptionPause(
        pause_start=start, pause_end=start + timedelta(days=days), pause_status=PauseStatus.ACTIVE
    )
    drawn = picture_of(subscription(2026), [], [pause], [], NOW)
    assert f"<title>Paused: 10 Nov 2026 to {10 + days} Nov 2026 (UTC)</title>" in drawn
    assert re.findall(r'<text (class="in[^"]*")[^>]*>Paused', drawn) == ([word] if word else [])
