"""The times that the operations page gives for failures are those of the code."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from farthing.billing.collection.collect import AGAIN
from farthing.jobs.duties import duty
from farthing.jobs.workers.pace import ORDINARY_PACE
from farthing.notifications.email.delivery import schedule as mail
from farthing.notifications.webhooks.delivery import schedule as webhooks
from farthing.notifications.webhooks.delivery.queue import LEASE

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def _failures() -> str:
    section = PAGE.read_text().partition("\n## When something fails\n")[2].partition("\n## ")[0]
    return re.sub(r"\s+", " ", section)


def _hours(delays: tuple[timedelta, ...]) -> float:
    return sum(delays, timedelta()) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("sentence", "is_true"),
    [
        ("is tried again by a billing run within the hour", timedelta(hours=1) == AGAIN),
        ("is sent again half a minute later", timedelta(seconds=30) == LEASE),
        ("its messages are tried eight times within about 28 hours", len(webhooks.RETRY_DELAYS) + 1 == 8),
        ("within about 28 hours", 27.5 < _hours(webhooks.RETRY_DELAYS) < 28.5),
        ("is tried six times within about nine hours", len(mail.RETRY_DELAYS) + 1 == 6),
        ("within about nine hours", 8.5 < _hours(mail.RETRY_DELAYS) < 9.5),
        (
            "takes it up again within a minute",
            ORDINARY_PACE.stale_seconds + 2 * ORDINARY_PACE.look_seconds + ORDINARY_PACE.longest_pause < 60,
        ),
        ("the process is cut off after 20 seconds", ORDINARY_PACE.stop_seconds == 20),
        ("after 30 seconds another takes it over", ORDINARY_PACE.stale_seconds == 30),
        ("PostgreSQL ends its connection after 30 seconds", ORDINARY_PACE.stale_seconds == 30),
        ("it is stopped after an hour and tried again", timedelta(hours=1) == duty.LIMIT),
    ],
)
def test_a_time_on_the_page_is_that_of_the_code(sentence: str, is_true: bool) -> None:
    assert sentence in _failures()
    assert is_true
