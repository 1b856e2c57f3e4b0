"""Pure parts: the schedule of retries, the rate limit, signatures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from farthing.notifications.webhooks.delivery.pacing import allowed_now, next_free
from farthing.notifications.webhooks.delivery.schedule import next_attempt
from farthing.notifications.webhooks.delivery.signing import new_secret, signed_headers

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_times_of_retries_without_jitter_and_with_instant_failures() -> None:
    at, times = MIDNIGHT, []
    for failures in range(1, 8):
        following = next_attempt(failures, at, 0)
        assert following is not None
        at = following
        times.append(f"{at:%-d %H:%M:%S}")
    assert times == ["1 00:00:05", "1 00:05:05", "1 00:35:05", "1 02:35:05", "1 07:35:05", "1 17:35:05", "2 03:35:05"]
    assert next_attempt(8, at, 0) is None


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"), [(1, 1, 5.5), (1, 0.5, 5.25), (2, 1, 330), (3, 0.1, 1818), (7, 1, 39600)]
)
def test_jitter_adds_up_to_a_tenth(failures: int, jitter: float, seconds: float) -> None:
    assert next_attempt(failures, MIDNIGHT, jitter) == MIDNIGHT + timedelta(seconds=seconds)


@pytest.mark.parametrize("per_second", [1, 3, 5, 50, 500])
def test_no_second_holds_more_attempts_than_the_rate_limit_and_a_tenth(per_second: int) -> None:
    free: datetime | None = None
    begun: list[datetime] = []
    for tick in range(300):  # a look each hundredth of a second
        now = MIDNIGHT + tick * timedelta(milliseconds=10)
        allowed = allowed_now(free, per_second, now)
        if allowed:
            free = next_free(free, per_second, allowed, now)
            begun += [now] * allowed
    for first in begun:
        within = [at for at in begun if first <= at < first + timedelta(seconds=1)]
        assert len(within) <= per_second + max(1, per_second // 10)
    assert len(begun) >= 3 * per_second - 1


def test_a_known_message_has_its_known_signature() -> None:
    headers = signed_headers(
        "msg_01",
        datetime.fromtimestamp(1735689600, UTC),
        '{"event_type":"wallet.created","wallet":{"id":"wallet_01"}}',
        [Webhook("whsec_ZmFydGhpbmctdGVzdC1zZWNyZXQtMjRi")],
    )
    for family in ("svix", "webhook"):
        assert headers[f"{family}-id"] == "msg_01"
        assert headers[f"{family}-timestamp"] == "1735689600"
        assert headers[f"{family}-signature"] == "v1,zlCi3DAJ62IG+Ylt0fct1DYE0qdHXtSP9iRuPorZySI="


@pytest.mark.parametrize("body", ["{}", '{"ä": "€ 🧾"}', '{"a":"' + "x" * 100_000 + '"}', "[]", '{"n": "0.10"}'])
def test_receivers_verify_with_the_library_by_either_of_two_secrets(body: str) -> None:
    old, new = new_secret(), new_secret()
    headers = dict(signed_headers("msg_02", datetime.now(UTC), body, [Webhook(new), Webhook(old)]))
    for secret in (old, new):
        Webhook(secret).verify(body.encode(), headers)
