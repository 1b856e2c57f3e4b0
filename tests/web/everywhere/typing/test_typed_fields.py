"""What people type into forms, read as values."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from farthing.core.errors import ValidationFailed
from farthing.web.forms.durations import duration_in_words, seconds_in
from farthing.web.rendering.typed_fields import number_in, start_of_day, start_of_next_day
from tests.web.stage import Stage
from tests.web.visitor import Visitor

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


def test_no_number_at_all_is_said_plainly() -> None:
    with pytest.raises(ValidationFailed) as refused:
        number_in("amount", " ")
    assert refused.value.details == {"amount": "is required"}


async def test_a_comma_that_may_mean_two_amounts_moves_no_money(inside: Visitor, own: Stage) -> None:
    customer = await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    wallet = await own.account.post("/wallets", {"customer_id": customer["id"], "currency": "eur"}, expect=200)
    token, here = await inside.token(), f"/wallets/{wallet['id']}"
    for typed, problem in (("12,50", "12,50 is no number"), ("", "is required"), ("abc", "not a decimal number")):
        form = {"form_token": token, "once": typed or "none", "credits": typed, "reason": "FREE_CREDIT_GRANT"}
        answer = await inside.post(f"{here}/top-up", form)
        assert answer.headers["location"] == here
        assert problem in (await inside.http.get(here)).text.replace("&#39;", "'")
    paid = {"form_token": token, "once": "payment", "customer": customer["id"], "currency": "eur", "amount": "49,00"}
    paid |= {"payment_method_type": "OFFLINE", "received": "2026-11-01"}
    assert (await inside.post("/payments/new", paid)).status_code == 400
    assert (await own.account.get("/payments"))["items"] == []
    assert (await own.account.get(f"/wallets/{wallet['id']}"))["credit_balance"] == "0"


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("2 hours", 7200),
        ("15 min", 900),
        ("1 day, 12 hours and 30 minutes", 131_400),
        ("1.5h", 5400),
        ("1,440 minutes", 86_400),
        ("0", 0),
    ],
)
def test_a_duration_is_typed_in_words(typed: str, seconds: int) -> None:
    assert seconds_in("wait", typed) == seconds


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 900, 5400, 7200, 86_400, 100_000, 366 * 86_400])
def test_a_duration_that_is_shown_means_itself(seconds: int) -> None:
    assert seconds_in("wait", duration_in_words(seconds)) == seconds


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("3600", "a number with days, hours or minutes"),
        ("2 weeks", "a number with days, hours or minutes"),
        ("-2 hours", "a number with days, hours or minutes"),
        ("soon", "a number with days, hours or minutes"),
        ("1,5 hours", "1,5 is no number"),
        ("0.0001 seconds", "whole seconds"),
        ("367 days", "at most 366 days"),
    ],
)
def test_what_is_no_duration_is_said_at_its_field(typed: str, why: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        seconds_in("wait", typed)
    assert why in refused.value.details["wait"]
